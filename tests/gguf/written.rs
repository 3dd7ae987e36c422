//! Models written as GGUF files, read again.

use std::path::Path;

use melos::hub::gguf::{GgufFile, Quant, export};
use melos::hub::{self, Checkpoint};
use melos::models::{open, tokenizer_of};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fixture;

fn quant(name: &str) -> Quant {
    Quant::named(name).unwrap()
}

/// A fixture as a folder, which is then written as a file.
fn folder_of(name: &str, into: &TempDir) -> Checkpoint {
    let out = into.path().join(name);
    let from = open(&fixture(&format!("{name}.gguf"))).unwrap();
    hub::convert(&from, &out, None, &hub::SaveOptions::default()).unwrap();
    open(&out).unwrap()
}

fn same_numbers(a: &Checkpoint, b: &Checkpoint) {
    let names: Vec<&str> = a.names().collect();
    assert_eq!(names, b.names().collect::<Vec<_>>());
    for name in names {
        assert_eq!(a.values(name).unwrap(), b.values(name).unwrap(), "{name}");
    }
}

/// What llama.cpp's converter said of the same model.
#[test]
fn a_file_says_what_the_converters_file_says() {
    let folder = TempDir::new().unwrap();
    for name in ["gpt2", "llama"] {
        let out = folder.path().join(format!("{name}.gguf"));
        export(&folder_of(name, &folder), &out, quant("q8_0")).unwrap();
        let (ours, theirs) = (out.as_path(), fixture(&format!("{name}.gguf")));
        let [ours, theirs] = [ours, &theirs].map(|path| GgufFile::open(path).unwrap());
        // Names of people and sizes, which change nothing; what is the default of all readers.
        let idle = [
            "general.name",
            "general.size_label",
            "general.file_type",
            "general.quantization_version",
        ];
        for key in theirs.keys().filter(|key| !idle.contains(key)) {
            let (ours, theirs) = (ours.value(key), theirs.value(key));
            // Only which of two tokens is better counts.
            if key != "tokenizer.ggml.scores" {
                assert_eq!(ours, theirs, "{name}: {key}");
            }
        }
        assert_eq!(
            ours.names().collect::<Vec<_>>(),
            theirs.names().collect::<Vec<_>>()
        );
        for tensor in theirs.names() {
            let (a, b) = (ours.blocks(tensor).unwrap(), theirs.blocks(tensor).unwrap());
            assert!(a == b, "{name}: {tensor}");
        }
        let [a, b] =
            [&out, &fixture(&format!("{name}.gguf"))].map(|p| tokenizer_of(p, None).unwrap());
        for text in [
            "the thing  and 12 more",
            "走れメロス 🏃\n",
            "<|user|>in<think>the",
        ] {
            assert_eq!(a.encode(text).unwrap(), b.encode(text).unwrap());
        }
    }
}

#[test]
fn numbers_come_back_as_they_were() {
    let folder = TempDir::new().unwrap();
    let gpt2 = folder_of("gpt2", &folder);
    for kind in ["f32", "q8_0"] {
        // Q8_0 numbers are Q8_0 numbers again.
        let out = folder.path().join(format!("{kind}.gguf"));
        export(&gpt2, &out, quant(kind)).unwrap();
        same_numbers(&open(&out).unwrap(), &gpt2);
    }
    for kind in Quant::names() {
        let out = folder.path().join(format!("again-{kind}.gguf"));
        export(&gpt2, &out, quant(kind)).unwrap();
        let again = open(&out).unwrap();
        for name in gpt2.names() {
            let (a, b) = (gpt2.values(name).unwrap(), again.values(name).unwrap());
            let norm = |all: &mut dyn Iterator<Item = f32>| all.map(|x| x * x).sum::<f32>().sqrt();
            let off = norm(&mut a.iter().zip(&b).map(|(a, b)| a - b));
            assert!(off <= 0.1 * norm(&mut a.iter().copied()), "{kind}: {name}");
        }
    }
}

fn refused(input: &Checkpoint, out: &Path, words: &[&str]) {
    let error = export(input, out, quant("f16")).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn what_readers_would_load_wrongly_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.gguf");
    let hf = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/hf")
            .join(name)
    };
    refused(
        &open(&hf("bert_mlm")).unwrap(),
        &out,
        &["bert", "llama.cpp has no"],
    );
    refused(
        &open(&hf("gpt2_classifier")).unwrap(),
        &out,
        &["GPT2ForSequenceClassification", "head"],
    );
    refused(&open(&hf("gpt2_lm")).unwrap(), &out, &["no tokenizer.json"]);
    let good = folder_of("gpt2", &folder);
    let changed = |file: &str, from: &str, to: &str| {
        let path = good.path.join(file);
        let whole = std::fs::read_to_string(&path).unwrap();
        let other = whole.replace(from, to);
        assert_ne!(other, whole, "{from}");
        std::fs::write(&path, other).unwrap();
        let checkpoint = open(&good.path).unwrap();
        std::fs::write(&path, whole).unwrap();
        checkpoint
    };
    let gelu = changed("config.json", "gelu_new", "relu");
    refused(&gelu, &out, &["activation_function", "relu"]);
    for (from, to, words) in [
        (
            r#""type":"ByteLevel","add_prefix_space":false"#,
            r#""type":"ByteLevel","add_prefix_space":true"#,
            "cuts texts",
        ),
        (r#""type":"BPE""#, r#""type":"WordPiece""#, "WordPiece"),
        (
            r#""normalizer":null"#,
            r#""normalizer":{"type":"Lowercase"}"#,
            "changes texts",
        ),
        (r#""lstrip":false"#, r#""lstrip":true"#, "takes spaces"),
        (
            r#""ignore_merges":false"#,
            r#""ignore_merges":true"#,
            "cuts texts",
        ),
    ] {
        // The file is read when it is written on.
        let path = good.path.join("tokenizer.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        let other = whole.replace(from, to);
        assert_ne!(other, whole, "{from}");
        std::fs::write(&path, other).unwrap();
        refused(&good, &out, &[words]);
        std::fs::write(&path, whole).unwrap();
    }
    export(&good, &out, quant("f16")).unwrap();
    let error = export(&good, &out, quant("f16")).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
}

/// Angles that are scaled are scaled again by who reads the file.
#[test]
fn scaled_angles_come_back_as_they_were() {
    let folder = TempDir::new().unwrap();
    for (name, keys) in [
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.5, "beta_fast": 20.0, "beta_slow": 2.0,
            "original_max_position_embeddings": 32}}),
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "linear", "factor": 3.0}}),
        ),
    ] {
        let own = folder_of(name, &folder);
        let path = own.path.join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config
            .as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        config.as_object_mut().unwrap().remove("rope_parameters");
        std::fs::write(&path, config.to_string()).unwrap();
        let out = folder.path().join("scaled.gguf");
        export(&open(&own.path).unwrap(), &out, quant("f32")).unwrap();
        let back = open(&out).unwrap().config["rope_scaling"].clone();
        for (key, value) in keys["rope_scaling"].as_object().unwrap() {
            assert_eq!(&back[key], value, "{key}");
        }
        std::fs::remove_file(&out).unwrap();
        std::fs::remove_dir_all(&own.path).unwrap();
    }
    let own = folder_of("llama", &folder);
    for scaling in [
        json!({"rope_type": "dynamic", "factor": 2.0}),
        json!({"rope_type": "yarn", "factor": 4.0, "attention_factor": 2.0, "original_max_position_embeddings": 16}),
        json!({"rope_type": "yarn", "factor": 4.0, "truncate": false, "original_max_position_embeddings": 16}),
    ] {
        let path = own.path.join("config.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["rope_scaling"] = scaling;
        config.as_object_mut().unwrap().remove("rope_parameters");
        std::fs::write(&path, config.to_string()).unwrap();
        refused(
            &open(&own.path).unwrap(),
            &folder.path().join("out.gguf"),
            &["scale its angles"],
        );
    }
}
