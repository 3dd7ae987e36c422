//! Files that are cut, that lie, and that are of another kind: one clear error each.

use std::fs;

use melos::hub::gguf::{GgufFile, Value};
use melos::models::open;
use tempfile::TempDir;

use crate::support::{Entry, Made, fixture, flag, list, real, said, texts, tiny, whole};

fn refused(made: &Made, words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let error = open(&made.write(&folder)).unwrap_err().to_string();
    for word in ["a.gguf"].iter().chain(words) {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut whole = tiny().bytes();
    // The last tensor has 16 bytes, and 16 behind it that fill up.
    whole.truncate(whole.len() - 16);
    let path = folder.path().join("cut.gguf");
    for end in (0..whole.len())
        .step_by(37)
        .chain([4, 8, 23, 24, whole.len() - 1])
    {
        fs::write(&path, &whole[..end]).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("cut.gguf"), "{error}");
    }
    fs::write(&path, &whole).unwrap();
    open(&path).unwrap();
}

#[test]
fn a_header_that_lies_is_refused() {
    let good = tiny();
    let with = |change: &dyn Fn(&mut Made)| {
        let mut made = good.clone();
        change(&mut made);
        made
    };
    for version in [0, 1, 4, 77] {
        refused(&with(&|m| m.version = version), &["version"]);
    }
    refused(&with(&|m| m.version = 3u32.swap_bytes()), &["byte order"]);
    refused(
        &with(&|m| m.counts = Some([u64::MAX, 1])),
        &["18446744073709551615 tensors", "65536"],
    );
    refused(
        &with(&|m| m.counts = Some([1, 1 << 40])),
        &["1099511627776 keys"],
    );
    refused(&with(&|m| m.counts = Some([60_000, 12])), &["a.gguf"]);
    refused(
        &with(&|m| m.keys.push(("x".into(), vec![13, 0, 0, 0]))),
        &["'x'", "unknown kind 13"],
    );
    refused(
        &with(&|m| m.keys.push(m.keys[0].clone())),
        &["'general.architecture' stands twice"],
    );
    refused(
        &with(&|m| m.tensors.push(m.tensors[0].clone())),
        &["token_embd.weight", "twice"],
    );
    // A text, a list, a list of lists that claim more than there is.
    let long = [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    refused(
        &good.clone().key("x", long),
        &["'x'", "beyond the file's end"],
    );
    for kind in [0, 6, 8, 9, 12] {
        for count in [1 << 40, u64::MAX] {
            refused(
                &good.clone().key("x", list(kind, count, &[])),
                &["'x'", "a.gguf"],
            );
        }
    }
    let mut deep = list(0, 0, &[]);
    for _ in 0..6 {
        deep = list(9, 1, &deep[4..]);
    }
    refused(&good.clone().key("x", deep), &["'x'", "lists lie in lists"]);
    refused(
        &good.clone().key("general.alignment", whole(24)),
        &["alignment is 24", "power of two"],
    );
    refused(
        &good.clone().key("general.alignment", said("32")),
        &["should be a whole number", "'32'"],
    );
    let not_utf8 = [&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[0xFF]].concat();
    refused(
        &good.clone().key("general.architecture", not_utf8),
        &["not UTF-8"],
    );
}

#[test]
fn tensors_that_lie_are_refused_by_their_names() {
    let good = tiny();
    let first = |change: &dyn Fn(&mut Entry)| {
        let mut made = good.clone();
        change(&mut made.tensors[0]);
        made
    };
    let name = "token_embd.weight";
    for sides in [
        vec![u64::MAX, 2],
        vec![1 << 62],
        vec![4, 1 << 40],
        vec![1 << 33, 1 << 33],
    ] {
        refused(
            &first(&|t| t.1 = sides.clone()),
            &[name, "beyond the file's end"],
        );
    }
    refused(&first(&|t| t.1 = vec![1; 5]), &[name, "5 sides"]);
    refused(&first(&|t| t.3 = 7), &[name, "begins at 7"]);
    refused(&first(&|t| t.3 = 1 << 62), &[name, "beyond the file's end"]);
    refused(
        &first(&|t| t.3 = u64::MAX - 31),
        &[name, "beyond the file's end"],
    );
    refused(&first(&|t| t.3 = 32), &["overlaps"]);
    for (kind, other) in [
        (19, "IQ1_S"),
        (39, "MXFP4"),
        (9, "Q8_1"),
        (99, "unknown type 99"),
    ] {
        refused(&first(&|t| t.2 = kind), &[name, other, "Q4_K"]);
    }
    refused(&first(&|t| t.2 = 8), &[name, "rows of 4", "Q8_0 (32)"]);
    refused(
        &good.clone().tensor("blk.0.attn_k.weight", &[4, 4]),
        &["attn_k", "gpt2"],
    );
    let mut lacking = good.clone();
    lacking.tensors.remove(0);
    refused(&lacking, &[name, "not in the file"]);
    // A vocabulary of its own is fine; a shape that is none of the model's is told when it is used.
    let mut other = good;
    other.tensors[1].1 = vec![4, 5];
    let folder = TempDir::new().unwrap();
    let checkpoint = open(&other.write(&folder)).unwrap();
    let layout = checkpoint
        .layout(checkpoint.architecture().unwrap())
        .unwrap();
    let error = checkpoint.report(&layout).unwrap_err().to_string();
    assert!(error.contains("5 positions, expected 6"), "{error}");
}

#[test]
fn a_model_that_is_none_of_these_is_refused_by_its_name() {
    let good = tiny();
    refused(
        &good.clone().key("general.architecture", said("mamba")),
        &["'mamba'", "gpt2", "llama"],
    );
    refused(
        &good.clone().without("general.architecture"),
        &["no 'general.architecture'"],
    );
    refused(
        &good.clone().key("general.type", said("adapter")),
        &["no model by itself"],
    );
    refused(
        &good.clone().key("split.count", whole(3)),
        &["3 parts", "--merge"],
    );
    refused(
        &good.clone().without("gpt2.block_count"),
        &["no 'gpt2.block_count'"],
    );
    refused(
        &good.clone().key("gpt2.block_count", real(1.5)),
        &["a whole number", "1.5"],
    );
    refused(
        &good.clone().key("gpt2.block_count", texts(&["a"])),
        &["found a list of 1"],
    );
}

#[test]
fn values_of_every_kind_are_read() {
    let number = |kind: u32, bytes: &[u8]| [&kind.to_le_bytes()[..], bytes].concat();
    let made = Made::new()
        .key("u8", number(0, &[200]))
        .key("i8", number(1, &(-5i8).to_le_bytes()))
        .key("u16", number(2, &60_000u16.to_le_bytes()))
        .key("i16", number(3, &(-30_000i16).to_le_bytes()))
        .key("u32", whole(4_000_000_000))
        .key("i32", number(5, &(-2_000_000_000i32).to_le_bytes()))
        .key("f32", real(0.5))
        .key("bool", flag(true))
        .key("text", said("走れ"))
        .key("u64", number(10, &u64::MAX.to_le_bytes()))
        .key("i64", number(11, &i64::MIN.to_le_bytes()))
        .key("f64", number(12, &0.1f64.to_le_bytes()))
        .key("texts", texts(&["a", "", "ö"]))
        .key("numbers", list(3, 2, &[1, 0, 0xFF, 0xFF]))
        .key("lists", list(9, 1, &list(0, 2, &[1, 2])[4..]))
        .tensor("x", &[3, 2]);
    let folder = TempDir::new().unwrap();
    for version in [2, 3] {
        let made = Made {
            version,
            ..made.clone()
        };
        let file = GgufFile::open(&made.write(&folder)).unwrap();
        assert_eq!(file.version(), version);
        assert_eq!(file.keys().count(), 15);
        let value = |key: &str| file.value(key).unwrap();
        assert_eq!(value("u8"), Value::Unsigned(200));
        assert_eq!(value("i8"), Value::Signed(-5));
        assert_eq!(value("u16"), Value::Unsigned(60_000));
        assert_eq!(value("i16"), Value::Signed(-30_000));
        assert_eq!(value("u32"), Value::Unsigned(4_000_000_000));
        assert_eq!(value("i32"), Value::Signed(-2_000_000_000));
        assert_eq!(value("f32"), Value::Single(0.5));
        assert_eq!(value("bool"), Value::Flag(true));
        assert_eq!(value("text"), Value::Text("走れ"));
        assert_eq!(value("u64"), Value::Unsigned(u64::MAX));
        assert_eq!(value("i64"), Value::Signed(i64::MIN));
        assert_eq!(value("f64"), Value::Double(0.1));
        assert_eq!(file.texts("texts").unwrap().unwrap(), ["a", "", "ö"]);
        assert_eq!(file.numbers("numbers").unwrap().unwrap(), [1.0, -1.0]);
        assert!(matches!(value("lists"), Value::List(list) if list.len() == 1));
        assert_eq!(file.whole("u8").unwrap(), Some(200));
        assert_eq!(file.whole("none").unwrap(), None);
        assert!(file.whole("i8").is_err() && file.texts("numbers").is_err());
        assert_eq!(file.tensor_info("x").unwrap().shape, [2, 3]);
    }
}

#[test]
fn a_file_is_known_by_how_it_begins() {
    let folder = TempDir::new().unwrap();
    let blob = folder.path().join("sha256-0123");
    fs::copy(fixture("gpt2.gguf"), &blob).unwrap();
    assert_eq!(
        open(&blob).unwrap().architecture().unwrap().name(),
        "GPT2LMHeadModel"
    );
    let none = folder.path().join("none.gguf");
    let error = open(&none).unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
    fs::write(&none, "not at all").unwrap();
    let error = open(&none).unwrap_err().to_string();
    assert!(error.contains("does not begin as a GGUF file"), "{error}");
}
