//! `melos inspect`, `convert` and `merge` from outside.

use std::fs;
use std::path::Path;
use std::process::Command;

use melos::models::open;
use serde_json::Value;

use super::support::*;

/// Exit code, standard output, standard error.
fn melos(arguments: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_melos"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        out.status.code().unwrap(),
        text(out.stdout),
        text(out.stderr),
    )
}

fn done(arguments: &[&str]) -> String {
    let (code, out, error) = melos(arguments);
    assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    out
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn inspect_shows_tensors_and_figures() {
    let model = fixture("bert_classifier");
    let text = done(&["inspect", path(&model)]);
    let line = text
        .lines()
        .find(|l| l.starts_with("classifier.weight "))
        .unwrap();
    assert!(line.ends_with("  F32   3 × 16"), "{line}");
    assert!(
        text.ends_with(
            "\nBertForSequenceClassification (model): 41 tensors, 4,859 parameters, F32, 19.4 kB\n"
        ),
        "{text}"
    );
    let lora = fixture("bert_lora");
    let text = done(&["inspect", path(&lora)]);
    let end = "LoRA adapter (adapter): 10 tensors, 307 parameters, F32, 1.2 kB\n\
               r 2, alpha 6, 4 layers; base: bert_classifier\n\
               trainable 307 of 5,166 parameters: 5.9427 %\n";
    assert!(text.ends_with(end), "{text}");

    let json: Value = serde_json::from_str(&done(&["inspect", path(&model), "--json"])).unwrap();
    assert_eq!(json["parameters"], 4859);
    assert_eq!(json["tensors"].as_array().unwrap().len(), 41);
    assert_eq!(json["report"]["missing"], serde_json::json!([]));
}

#[test]
fn inspect_shows_a_model_that_does_not_fit_its_configuration() {
    let folder = model("gpt2_lm", kept, |config| config["vocab_size"] = 40.into());
    let text = done(&["inspect", path(folder.path())]);
    assert!(text.contains("transformer.wte.weight "), "{text}");
    let end = "has a vocabulary of 37, expected 40; use the tokeniser and the config.json that \
               belong to these weights\n";
    assert!(
        text.contains("\ndoes not fit its own config.json: ") && text.ends_with(end),
        "{text}"
    );
}

#[test]
fn a_models_card_goes_with_it_but_not_to_another_class() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = at("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("bert_pretraining").join(file), model.join(file)).unwrap();
    }
    std::fs::write(model.join("README.md"), "what it scored").unwrap();
    let (same, other) = (at("same"), at("other"));
    done(&["convert", path(&model), path(&same), "--dtype", "f16"]);
    let card = std::fs::read_to_string(same.join("README.md")).unwrap();
    assert_eq!(card, "what it scored");
    done(&["convert", path(&model), path(&other), "--as", "BertModel"]);
    assert!(!other.join("README.md").exists());
}

#[test]
fn convert_and_merge_write_models_that_open() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let model = fixture("bert_pretraining");
    let options = [
        "--dtype",
        "bf16",
        "--max-shard-size",
        "4KB",
        "--as",
        "BertModel",
    ];
    let mut arguments = vec!["convert", path(&model)];
    let out = at("encoder");
    arguments.push(path(&out));
    arguments.extend(options);
    let text = done(&arguments);
    assert!(
        text.starts_with("7 unexpected (not read): cls.predictions.bias, "),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("\nBertModel in {}\n", out.display())),
        "{text}"
    );
    let encoder = open(&out).unwrap();
    assert_eq!(encoder.config["dtype"], "bfloat16");
    assert!(encoder.files().count() > 1);
    let text = done(&["inspect", path(&out)]);
    assert!(text.contains("\nBertModel (shards): 39 tensors"), "{text}");

    let old = at("old");
    let names = ["--prefix", "drop", "--legacy-names"];
    done(
        &[
            &["convert", path(&fixture("bert_mlm")), path(&old)],
            &names[..],
        ]
        .concat(),
    );
    let raw = read_raw(&old.join("model.safetensors"));
    assert!(
        raw.iter()
            .any(|(name, _)| name == "embeddings.LayerNorm.gamma")
    );

    // Half precision in, half precision out, unless another is asked for.
    let half = at("half");
    done(&[
        "convert",
        path(&fixture("gpt2_lm")),
        path(&half),
        "--dtype",
        "f16",
    ]);
    let lora = fixture("gpt2_lora");
    for (name, options, dtype) in [
        ("as-it-is", &[][..], "float16"),
        ("wider", &["--dtype", "f32"][..], "float32"),
    ] {
        let out = at(name);
        let arguments = ["merge", path(&half), path(&lora), path(&out)];
        let text = done(&[&arguments[..], options].concat());
        assert_eq!(text, format!("GPT2LMHeadModel in {}\n", out.display()));
        assert_eq!(open(&out).unwrap().config["dtype"], dtype);
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let (bert, lora, gpt2) = (
        fixture("bert_mlm"),
        fixture("bert_lora"),
        fixture("gpt2_lm"),
    );
    let refused = |arguments: &[&str], code: i32, message: &str| {
        let (found, stdout, error) = melos(arguments);
        assert_eq!(
            (found, stdout.as_str()),
            (code, ""),
            "{arguments:?}: {error}"
        );
        assert!(error.starts_with("melos: ") || code == 2, "{error}");
        assert!(
            error.contains(message) && !error.contains("panicked"),
            "{error}"
        );
        assert!(!out.exists());
    };
    refused(
        &["inspect", "/no/such"],
        5,
        "no such file or folder: '/no/such'",
    );
    refused(&["inspect", path(dir.path())], 5, "is no model folder");
    refused(&["convert", path(&bert), path(&bert)], 5, "is not empty");
    refused(
        &["convert", path(&bert), path(&out), "--as", "Bert"],
        2,
        "no architecture 'Bert'",
    );
    refused(
        &["convert", path(&bert), path(&out), "--dtype", "f64"],
        2,
        "f64",
    );
    refused(
        &["convert", path(&bert), path(&out), "--max-shard-size", "0"],
        2,
        "size",
    );
    refused(
        &["convert", path(&lora), path(&out)],
        5,
        "is a LoRA adapter",
    );
    refused(
        &["merge", path(&gpt2), path(&lora), path(&out)],
        5,
        "target_modules match nothing",
    );
    refused(
        &["merge", path(&gpt2), path(&bert), path(&out)],
        5,
        "is no adapter folder",
    );
    refused(
        &[
            "merge",
            path(&gpt2),
            path(&fixture("gpt2_lora")),
            path(&bert),
        ],
        5,
        "is not empty",
    );
    let note = dir.path().join("note.safetensors");
    fs::write(&note, "not tensors").unwrap();
    refused(&["inspect", path(&note)], 5, "note.safetensors: its header");
}

#[test]
fn numbers_that_become_infinite_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    let base = fixture("bert_mlm");
    fs::copy(base.join("config.json"), model.join("config.json")).unwrap();
    let mut bytes = fs::read(base.join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let name = "bert.encoder.layer.0.output.dense.bias";
    let start = tensors[name]["data_offsets"][0].as_u64().unwrap() as usize;
    // 65519 is still rounded to the largest f16.
    for (n, x) in [65519f32, 7e4, -1e6].into_iter().enumerate() {
        let at = header + start + 4 * n;
        bytes[at..at + 4].copy_from_slice(&x.to_le_bytes());
    }
    fs::write(model.join("model.safetensors"), bytes).unwrap();
    let (model, out) = (path(&model), dir.path().join("out"));
    let convert = |dtype| melos(&["convert", model, path(&out), "--dtype", dtype]);
    let (code, said, error) = convert("f16");
    assert_eq!((code, said.as_str()), (5, ""), "{error}");
    let words = format!("2 of the 16 numbers of '{name}' are too large for float16");
    assert!(error.contains(&words), "{error}");
    assert!(!out.exists());
    let (code, _, error) = convert("bf16");
    assert_eq!(code, 0, "{error}");
}
