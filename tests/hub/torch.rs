//! Files of torch.save: what PyTorch wrote (tools/make_torch_fixtures.py), models of which only such files are
//! there, and files made to do harm.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use melos::Error;
use melos::hub::{TORCH_INDEX, TORCH_WEIGHTS, TorchFile, is_torch};
use melos::models::open;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::support::{Raw, fixture, json, read_raw};

fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/torch")
        .join(name)
}

fn compare(file: &TorchFile, expected: &Value, name: &str) {
    let expected = expected.as_object().unwrap();
    for (tensor, said) in expected {
        let array = file.array(tensor).unwrap();
        assert_eq!(serde_json::json!(array.shape()), said[0], "{name} {tensor}");
        let numbers = said[1].as_array().unwrap().iter();
        // f64 is rounded to f32, all others are exact.
        let numbers: Vec<f32> = numbers.map(|x| x.as_f64().unwrap() as f32).collect();
        assert_eq!(array.into_values(), numbers, "{name} {tensor}");
    }
    assert!(expected.len() >= 6);
}

#[test]
fn every_kind_of_tensor_is_read_as_pytorch_wrote_it() {
    let expected = json(&made("expected.json"));
    for name in ["tensors.pth", "legacy.pth"] {
        assert!(is_torch(&made(name)));
        let file = TorchFile::open(&made(name)).unwrap();
        assert_eq!(file.names().len(), 12);
        compare(&file, &expected["tensors"], name);
        let refused = file.array("counter").unwrap_err().to_string();
        assert!(refused.contains("holds I64"), "{refused}");
    }
    // Beside an optimiser's state, and of several devices.
    let file = TorchFile::open(&made("checkpoint.pth")).unwrap();
    compare(&file, &expected["checkpoint"], "checkpoint.pth");
}

/// A pickle, step by step.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn raw(mut self, bytes: &[u8]) -> Pickle {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Pickle {
        let length = (text.len() as u32).to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }

    fn int(self, n: i64) -> Pickle {
        self.raw(b"\x8a\x08").raw(&n.to_le_bytes())
    }

    fn ints(self, all: &[i64]) -> Pickle {
        let begun = self.raw(b"(");
        all.iter().fold(begun, |p, n| p.int(*n)).raw(b"t")
    }

    /// A tensor in the storage `key` of so many numbers.
    fn tensor(self, key: &str, count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Pickle {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .raw(b"ctorch\nFloatStorage\n")
            .text(key)
            .text("cpu")
            .int(count)
            .raw(b"tQ")
            .int(offset)
            .ints(shape)
            .ints(strides)
            .raw(b"\x89ccollections\nOrderedDict\n)RtR")
    }
}

fn begin() -> Pickle {
    Pickle::default().raw(b"\x80\x02")
}

/// A dictionary of one tensor.
fn one(tensor: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    tensor(begin().raw(b"}").text("a")).raw(b"s.").0
}

fn archive(pickle: &[u8], storages: &[(String, Vec<u8>)], how: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(how);
    let mut put = |name: String, bytes: &[u8]| {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    };
    put("m/data.pkl".into(), pickle);
    for (key, bytes) in storages {
        put(format!("m/data/{key}"), bytes);
    }
    zip.finish().unwrap().into_inner()
}

fn stored(pickle: &[u8], numbers: usize) -> Vec<u8> {
    let storage = [("0".to_string(), vec![0; 4 * numbers])];
    archive(pickle, &storage, CompressionMethod::Stored)
}

/// The tensors of a model as torch.save writes them.
fn saved<'a>(tensors: impl Iterator<Item = &'a (String, Raw)>) -> Vec<u8> {
    let (mut pickle, mut storages) = (begin().raw(b"}("), Vec::new());
    for (name, raw) in tensors {
        let key = storages.len().to_string();
        let shape: Vec<i64> = raw.shape.iter().map(|n| *n as i64).collect();
        let count: i64 = shape.iter().product();
        let strides: Vec<i64> = (0..shape.len())
            .map(|axis| shape[axis + 1..].iter().product())
            .collect();
        pickle = pickle.text(name).tensor(&key, count, 0, &shape, &strides);
        storages.push((key, raw.bytes.clone()));
    }
    archive(&pickle.raw(b"u.").0, &storages, CompressionMethod::Stored)
}

#[test]
fn models_of_which_only_pytorchs_files_are_there() {
    for name in ["bert_classifier", "gpt2_lm"] {
        let own = open(&fixture(name)).unwrap();
        let tensors = read_raw(&fixture(name).join("model.safetensors"));
        let tensors: Vec<(String, Raw)> = (tensors.into_iter())
            .filter(|(_, raw)| raw.dtype == safetensors::Dtype::F32)
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::copy(fixture(name).join("config.json"), at("config.json")).unwrap();
        fs::write(at(TORCH_WEIGHTS), saved(tensors.iter())).unwrap();
        let same = |what: &str| {
            let other = open(dir.path()).unwrap();
            assert!(own.names().eq(other.names()), "{name} {what}");
            for tensor in own.names() {
                assert_eq!(own.values(tensor).unwrap(), other.values(tensor).unwrap());
            }
        };
        same("whole");
        fs::remove_file(at(TORCH_WEIGHTS)).unwrap();
        let half = tensors.len() / 2;
        let files = ["pytorch_model-1.bin", "pytorch_model-2.bin"];
        fs::write(at(files[0]), saved(tensors[..half].iter())).unwrap();
        fs::write(at(files[1]), saved(tensors[half..].iter())).unwrap();
        let map: serde_json::Map<String, Value> = tensors
            .iter()
            .enumerate()
            .map(|(n, (tensor, _))| (tensor.clone(), files[usize::from(n >= half)].into()))
            .collect();
        let index = serde_json::json!({ "weight_map": map });
        fs::write(at(TORCH_INDEX), index.to_string()).unwrap();
        same("in two");
        fs::remove_file(at(files[1])).unwrap();
        let lacking = open(dir.path()).unwrap_err().to_string();
        assert!(lacking.contains("pytorch_model-2.bin"), "{lacking}");
    }
}

fn refused(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pth");
    fs::write(&path, bytes).unwrap();
    match TorchFile::open(&path) {
        Err(error @ Error::TensorFile { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(file) => panic!("{:?}", file.names()),
    }
}

#[test]
fn what_is_no_tensor_is_refused_by_name() {
    let call = |module: &str| begin().raw(module.as_bytes()).text("true").raw(b"\x85R.").0;
    for (pickle, said) in [
        (call("cos\nsystem\n"), "asks for os.system"),
        (call("cbuiltins\neval\n"), "asks for builtins.eval"),
        (
            call("ctorch.serialization\nload\n"),
            "asks for torch.serialization.load",
        ),
        (
            begin().text("os").text("system").raw(b"\x93.").0,
            "asks for os.system",
        ),
        (begin().raw(b"(Vos\nios\nsystem\n.").0, "opcode UNICODE"),
        (begin().raw(b"(ios\nsystem\n.").0, "opcode INST"),
        (
            begin().raw(b"ccollections\nOrderedDict\n)\x81.").0,
            "opcode NEWOBJ",
        ),
        (begin().raw(b"\x82\x01.").0, "opcode EXT"),
        (begin().raw(b"N}b.").0, "sets the inside of an object"),
        (begin().raw(b"})R.").0, "calls what it has made"),
        (begin().raw(b"\xff.").0, "the opcode 0xff"),
        (begin().raw(b"h\x07.").0, "do not fit each other"),
        (begin().raw(b"t.").0, "do not fit each other"),
        (begin().raw(b"X\xff\xff\xff\xffabc").0, "ends too early"),
        (begin().raw(b"}(").0, "ends too early"),
        (begin().raw(b"].").0, "no tensors by their names"),
    ] {
        let error = refused(&stored(&pickle, 1));
        assert!(error.contains(said), "{said}: {error}");
    }
    // A list that holds itself, a thousand times: nothing follows it.
    let mut itself = begin().raw(b"]q\x00");
    for _ in 0..1000 {
        itself = itself.raw(b"h\x00a");
    }
    assert!(refused(&stored(&itself.raw(b".").0, 1)).contains("no tensors"));
}

#[test]
fn what_is_copied_of_a_pickle_is_no_longer_than_it_is() {
    // A dictionary made of one list of a thousand pairs, again and again, for eight bytes each.
    let mut again = begin().raw(b"NN\x86q\x010]q\x00(");
    again = (0..1000).fold(again, |p, _| p.raw(b"h\x01"));
    again = again.raw(b"e0ccollections\nOrderedDict\nq\x020");
    again = (0..100).fold(again, |p, _| p.raw(b"h\x02h\x00\x85R0"));
    assert!(refused(&stored(&again.raw(b"}.").0, 1)).contains("do not fit each other"));
    // Once it is read.
    let once = begin().raw(b"NN\x86q\x010]q\x00(h\x01e0ccollections\nOrderedDict\nh\x00\x85R.");
    assert!(refused(&stored(&once.0, 1)).contains("no tensors"));
    let long = "k".repeat(4000);
    let named = one(|p| p.tensor(&long, 1, 0, &[1], &[1]));
    assert!(refused(&stored(&named, 1)).contains("do not fit each other"));
    let size = begin().raw(b"ctorch\nSize\n").ints(&[1; 40]).raw(b"\x85R.");
    assert!(refused(&stored(&size.0, 1)).contains("40 axes"));
}

#[test]
fn tensors_that_lie_outside_or_would_fill_the_memory_are_refused() {
    let tensor = |count, offset, shape: &'static [i64], strides: &'static [i64]| {
        one(move |p| p.tensor("0", count, offset, shape, strides))
    };
    for (pickle, said) in [
        (tensor(6, 0, &[2, 4], &[4, 1]), "shows 8 numbers of 6"),
        (tensor(6, 3, &[2, 2], &[2, 1]), "reaches beyond"),
        (tensor(6, 0, &[3], &[3]), "reaches beyond"),
        (
            tensor(7, 0, &[7], &[1]),
            "needs 28 bytes, and the file has 24",
        ),
        (
            tensor(6, 0, &[1 << 40], &[0]),
            "shows 1099511627776 numbers of 6",
        ),
        (tensor(6, 0, &[1 << 40, 1 << 40], &[0, 0]), "reaches beyond"),
        (tensor(i64::MAX, 0, &[2], &[1]), "reaches beyond"),
        (
            tensor(6, i64::MAX, &[2, 2], &[i64::MAX, 1]),
            "reaches beyond",
        ),
        (tensor(6, -1, &[1], &[1]), "size or step of -1"),
        (tensor(6, 0, &[2], &[-1]), "size or step of -1"),
        (
            one(|p| p.tensor("9", 1, 0, &[1], &[1])),
            "numbers that the file lacks",
        ),
    ] {
        let error = refused(&stored(&pickle, 6));
        assert!(error.contains(said), "{said}: {error}");
    }
    // What is whole is read.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pth");
    fs::write(&path, stored(&tensor(6, 1, &[2, 2], &[3, 1]), 6)).unwrap();
    assert_eq!(TorchFile::open(&path).unwrap().names(), ["a"]);
}

#[test]
fn archives_that_are_not_torch_saves() {
    let pickle = one(|p| p.tensor("0", 6, 0, &[6], &[1]));
    let good = stored(&pickle, 6);
    for cut in [good.len() / 3, good.len() - 10] {
        assert!(refused(&good[..cut]).contains("damaged archive"));
    }
    let empty = archive(b"", &[], CompressionMethod::Stored);
    assert!(refused(&empty).contains("ends too early"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(
        "code/model.py",
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored),
    )
    .unwrap();
    let script = zip.finish().unwrap().into_inner();
    assert!(refused(&script).contains("without a data.pkl"));
    // The compressed form is told from the archive's own list, before anything is unpacked.
    let mut packed = good.clone();
    let list = (0..packed.len() - 4)
        .find(|&at| packed[at..].starts_with(b"PK\x01\x02"))
        .unwrap();
    packed[list + 10] = 8;
    assert!(refused(&packed).contains("compressed or encrypted"));
    let legacy = fs::read(made("legacy.pth")).unwrap();
    for cut in [20, 200, legacy.len() - 5] {
        let error = refused(&legacy[..cut]);
        assert!(error.contains("ends"), "{cut}: {error}");
    }
    assert!(refused(b"neither of them at all").contains("no file of PyTorch"));
}
