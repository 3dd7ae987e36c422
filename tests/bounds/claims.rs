//! Files that claim more than they hold, or than there can be.

use std::fs;
use std::path::Path;

use melos::models::read_config;
use melos::text::tokenizer::morphemes::{Dictionary, build_dictionary};
use melos::text::{Tokenizer, WordVectors};
use melos::train::{Overrides, RunConfig};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{fixture, refused};

/// A `config.json` of each family, by the fields that are sizes.
#[test]
fn a_configuration_that_asks_for_billions_is_refused_by_its_field() {
    let bert = [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
        "num_labels",
    ];
    let distilbert = [
        "vocab_size",
        "dim",
        "n_layers",
        "n_heads",
        "hidden_dim",
        "max_position_embeddings",
    ];
    let gpt2 = [
        "vocab_size",
        "n_positions",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
    ];
    let families: [(&str, &[&str]); 4] = [
        ("bert", &bert),
        ("roberta", &bert),
        ("distilbert", &distilbert),
        ("gpt2", &gpt2),
    ];
    for (kind, fields) in families {
        for field in fields {
            for value in [json!(1_000_000_000), json!(u64::MAX)] {
                let mut config = json!({ "model_type": kind });
                config[*field] = value.clone();
                let named = if *field == "num_labels" {
                    "id2label"
                } else {
                    *field
                };
                refused(
                    move || read_config(&config, Path::new("m")),
                    &[named, &value.to_string()],
                );
            }
        }
        // Those that are real are not.
        read_config(&json!({ "model_type": kind }), Path::new("m")).unwrap();
    }
    for field in [
        "vocab_size",
        "embedding_size",
        "hidden_size",
        "num_layers",
        "head_size",
    ] {
        let mut config = lstm();
        config["lstm"][field] = json!(1_000_000_000);
        refused(
            move || read_config(&config, Path::new("m")),
            &[field, "1000000000"],
        );
    }
    let mut config = lstm();
    config["bptt"] = json!(1_000_000_000);
    refused(
        move || read_config(&config, Path::new("m")),
        &["bptt", "1000000000"],
    );
    read_config(&lstm(), Path::new("m")).unwrap();
}

fn lstm() -> Value {
    json!({
        "model_type": "melos-lstm", "objective": "language_model", "bptt": 8,
        "lstm": {
            "vocab_size": 9, "embedding_size": 4, "hidden_size": 4, "num_layers": 1,
            "bidirectional": false, "head_size": 0, "cell_clip": 0.0, "embedding_dropout": 0.0,
            "layer_dropout": 0.0, "output_dropout": 0.0,
        },
    })
}

/// A `.safetensors` file with this header.
fn tensors(folder: &TempDir, claimed: u64, header: &str, data: usize) -> std::path::PathBuf {
    let path = folder.path().join("model.safetensors");
    let mut bytes = claimed.to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn weights_whose_header_lies_are_refused() {
    let folder = TempDir::new().unwrap();
    for (claimed, problem) in [
        (33 << 20, "more than the 32 MiB"),
        (90 << 20, "more bytes than the file's"),
        (1 << 40, "more than the 100 MB"),
        (u64::MAX, "more than the 100 MB"),
    ] {
        let path = tensors(&folder, claimed, "{}", 34 << 20);
        refused(
            move || melos::models::open(&path),
            &["model.safetensors", problem],
        );
    }
    for (header, problem) in [
        (
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99]}}"#,
            "fit",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[8,4]}}"#,
            "gap",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            "overlaps",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}"#,
            "fit",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[0,18446744073709551615,9],"data_offsets":[0,16]}}"#,
            "fit",
        ),
    ] {
        let path = tensors(&folder, header.len() as u64, header, 16);
        refused(
            move || melos::models::open(&path),
            &["model.safetensors", problem],
        );
    }
}

/// The `tokenizer.json` of a fixture, with a change, as a folder.
fn tokenizer(of: &str, change: impl FnOnce(&mut Value)) -> TempDir {
    let folder = TempDir::new().unwrap();
    let text = fs::read(fixture(of).join("tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&text).unwrap();
    change(&mut json);
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    folder
}

#[test]
fn a_tokeniser_with_a_huge_id_is_refused_before_there_is_a_table_of_all() {
    for id in [u32::MAX, 1 << 24, 1 << 20] {
        let folder = tokenizer("tokenizers/cased", |json| {
            json["model"]["vocab"]["zebra"] = json!(id);
        });
        refused(
            move || Tokenizer::open(folder.path()),
            &["tokens, and one with the id", &id.to_string(), "16777216"],
        );
    }
    let gaps = tokenizer("tokenizers/cased", |json| {
        json["model"]["vocab"]["zebra"] = json!(60_000);
    });
    assert_eq!(Tokenizer::open(gaps.path()).unwrap().vocab_size(), 60_001);
}

#[test]
fn a_tokeniser_that_cuts_endless_words_is_refused() {
    let folder = tokenizer("tokenizers/cased", |json| {
        json["model"]["max_input_chars_per_word"] = json!(1_000_000);
    });
    refused(
        move || Tokenizer::open(folder.path()),
        &["tokenizer.json", "max_input_chars_per_word", "1000 at most"],
    );
}

#[test]
fn a_tokeniser_of_many_megabytes_is_read() {
    let folder = tokenizer("tokenizers/cased", |json| {
        for n in 0..1_000_000 {
            let word =
                format!("a rather long word, number {n}, as nobody has them in a vocabulary");
            json["model"]["vocab"][word] = json!(1000 + n);
        }
    });
    let size = fs::metadata(folder.path().join("tokenizer.json"))
        .unwrap()
        .len();
    assert!(size > 70 << 20, "{size}");
    assert_eq!(
        Tokenizer::open(folder.path()).unwrap().vocab_size(),
        1_001_000
    );
}

#[test]
fn word_vectors_that_promise_a_table_of_terabytes_are_refused() {
    let folder = TempDir::new().unwrap();
    let tokenizer = tokenizer("tokenizers/cased", |json| {
        for n in 0..140_000 {
            json["model"]["vocab"][format!("zebra {n}")] = json!(1000 + n);
        }
    });
    let tokenizer = Tokenizer::open(tokenizer.path()).unwrap();
    let words = Tokenizer::train_on(["a text a text"], &Default::default()).unwrap();
    let path = folder.path().join("vectors.bin");
    fs::write(&path, b"2 8192\na 1\n").unwrap();
    let again = path.clone();
    refused(
        move || WordVectors::read(again, &tokenizer),
        &["vectors.bin", "line 1", "141000 vectors of 8192 numbers"],
    );
    refused(
        move || WordVectors::read(path, &words),
        &["vectors.bin", "line 2", "expected 8192 numbers"],
    );
}

/// Writes a dictionary that claims what it does not hold, with a digest that is right.
fn dictionary(path: &Path, from: &[u8], at: usize) {
    let (magic, rest) = from.split_at(16);
    let mut payload = rest[32..].to_vec();
    payload[at..at + 8].copy_from_slice(&(1u64 << 50).to_le_bytes());
    let digest = Sha256::digest(&payload);
    fs::write(path, [magic, &digest[..], &payload].concat()).unwrap();
}

#[test]
fn a_dictionary_whose_lengths_lie_is_refused() {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good");
    build_dictionary(&fixture("tokenizers/ipadic"), &good).unwrap();
    Dictionary::open(&good).unwrap().cut("走れメロス").unwrap();
    let bytes = fs::read(&good).unwrap();
    // The first list's length stands behind the 21 bytes of the magic; the others further behind.
    for at in [21, 21 + 8] {
        let path = folder.path().join("bad");
        dictionary(&path, &bytes, at);
        refused(
            move || Dictionary::open(path),
            &["bad", "does not hold what it says"],
        );
    }
    let sources = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture("tokenizers/ipadic")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), sources.path().join(entry.file_name())).unwrap();
    }
    fs::write(sources.path().join("matrix.def"), "65535 65535\n0 0 1\n").unwrap();
    let out = folder.path().join("out");
    refused(
        move || build_dictionary(sources.path(), &out),
        &["matrix.def promises 4294836225 costs and has 1"],
    );
}

#[test]
fn settings_of_many_megabytes_are_none() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, "#".repeat(2 << 20)).unwrap();
    refused(
        move || RunConfig::read(&path, &Overrides::default()),
        &["run.toml", "longer than 1 MiB"],
    );
    let model = TempDir::new().unwrap();
    fs::write(
        model.path().join("config.json"),
        format!("[{}1]", "1,".repeat(5 << 20)),
    )
    .unwrap();
    refused(
        move || melos::models::open(model.path()),
        &["config.json", "4194304 values"],
    );
}

#[test]
fn a_run_file_that_asks_for_billions_is_refused_by_its_key() {
    let run = |line: &str, set: &str| {
        let text = format!(
            "name = \"x\"\ndata = {{ source = \"demo\" }}\n{line}\n[[stage]]\nname = \"a\"\n\
             kind = \"finetune\"\nobjective = \"classify\"\nlr = 0.1\nbudget = {{ steps = 1 }}\n"
        );
        let overrides = Overrides {
            set: vec![set.to_string()],
            ..Overrides::default()
        };
        RunConfig::parse(&text, "x.toml", &overrides)
    };
    let billions = "9223372036854775807";
    for (line, key) in [
        ("", "model.hidden"),
        ("", "model.layers"),
        ("", "model.embedding"),
        ("", "model.head"),
        ("model = { kind = \"bert\" }", "model.layers"),
        ("model = { kind = \"bert\" }", "model.hidden"),
        ("model = { kind = \"gpt2\" }", "model.max_positions"),
        ("", "tokenizer.vocabulary"),
        ("", "stage.a.batch"),
        ("", "stage.a.max_len"),
        ("", "stage.a.folds"),
    ] {
        let set = format!("{key}={billions}");
        refused(move || run(line, &set), &[key]);
    }
}
