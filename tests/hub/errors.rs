//! Damaged, incomplete and foreign files: each refused by name, none with a panic.

use std::fs;
use std::path::Path;

use melos::error::Error;
use melos::hub::{self, Architecture, SaveOptions};
use melos::models::{self, open};
use safetensors::Dtype;
use serde_json::json as value;

use super::support::*;

fn with_bytes(name: &str, alter: impl FnOnce(&mut Vec<u8>)) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(fixture(name).join("model.safetensors")).unwrap();
    alter(&mut bytes);
    let file = dir.path().join("model.safetensors");
    fs::write(&file, bytes).unwrap();
    refused(open(&file))
}

#[test]
fn damaged_files_are_named() {
    let copy = "copy it again";
    says(
        with_bytes("bert_mlm", |b| b.truncate(5)),
        &["model.safetensors: 5 bytes are too few", copy],
    );
    says(with_bytes("bert_mlm", Vec::clear), &["model.safetensors"]);
    says(
        with_bytes("bert_mlm", |b| {
            b[..8].copy_from_slice(&u64::MAX.to_le_bytes())
        }),
        &["claims more than the 100 MB", copy],
    );
    says(
        with_bytes("bert_mlm", |b| {
            b[..8].copy_from_slice(&90_000_000u64.to_le_bytes())
        }),
        &["its header claims more bytes than the file's 14900", copy],
    );
    says(
        with_bytes("bert_mlm", |b| b[9] = b'('),
        &["its header cannot be read", copy],
    );
    says(
        with_bytes("bert_mlm", |b| b[9] = 0xff),
        &["its header cannot be read", copy],
    );
    says(
        with_bytes("bert_mlm", |b| b.truncate(b.len() - 4)),
        &["more or fewer bytes", copy],
    );
    says(
        with_bytes("bert_mlm", |b| b.push(0)),
        &["more or fewer bytes", copy],
    );
    says(
        with_bytes("bert_mlm", |bytes| {
            let text = br#""shape":[16],"data_offsets":[0,64]"#;
            let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
            bytes[at..at + text.len()].copy_from_slice(br#""shape":[17],"data_offsets":[0,64]"#);
        }),
        &["a tensor's shape does not fit its bytes", copy],
    );
    says(
        with_bytes("bert_mlm", |bytes| {
            let text = br#""data_offsets":[64,128]"#;
            let at = bytes.windows(text.len()).position(|w| w == text).unwrap();
            bytes[at..at + text.len()].copy_from_slice(br#""data_offsets":[60,124]"#);
        }),
        &[
            "tensor 'bert.embeddings.LayerNorm.weight'",
            "overlaps its neighbour or leaves a gap",
        ],
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = fs::read(fixture("gpt2_classifier").join("model.safetensors")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.safetensors");
    for length in (0..whole.len()).step_by(97) {
        fs::write(&file, &whole[..length]).unwrap();
        let error = refused(open(&file));
        assert!(
            matches!(error, Error::TensorFile { .. } | Error::Io { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn no_damage_to_a_header_does_more_than_be_refused() {
    let whole = fs::read(fixture("gpt2_classifier").join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("damaged.safetensors");
    let mut opened = 0;
    for at in 0..header {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, bytes).unwrap();
        // A letter of a name may change and leave a good file: then all of it can be read.
        let Ok(checkpoint) = open(&file) else {
            continue;
        };
        opened += 1;
        for name in checkpoint.names() {
            let elements: usize = checkpoint.info(name).unwrap().shape.iter().product();
            let values = checkpoint.values(name);
            assert!(
                values.is_err() || values.unwrap().len() == elements,
                "{at}: {name}"
            );
        }
    }
    assert!(
        (1..header / 2).contains(&opened),
        "{opened} of {header} opened"
    );
}

#[test]
fn folders_that_are_no_models_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
    says(
        refused(open(dir.path())),
        &["is no model folder (it has no config.json)"],
    );
    says(
        refused(open(&dir.path().join("no"))),
        &["no such file or folder"],
    );
    says(
        refused(open(&fixture("bert_lora"))),
        &["is a LoRA adapter", "melos merge BASE ADAPTER OUT"],
    );
    at("config.json", "{");
    says(refused(open(dir.path())), &["config.json: is not JSON"]);
    at("config.json", r#"{"model_type": "bert"}"#);
    says(
        refused(open(dir.path())),
        &["has neither model.safetensors nor"],
    );
    at("pytorch_model.bin", "x");
    says(
        refused(open(dir.path())),
        &["pytorch_model.bin", "no file of PyTorch"],
    );
}

/// A sharded copy of a fixture, altered.
fn shards(alter: impl FnOnce(&Path, &mut serde_json::Value)) -> Error {
    let checkpoint = open(&fixture("gpt2_classifier")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("shards");
    let options = SaveOptions {
        max_shard_bytes: 4000,
        ..SaveOptions::default()
    };
    hub::save(&out, &whole(&checkpoint), &options).unwrap();
    let file = out.join("model.safetensors.index.json");
    let mut index = json(&file);
    alter(&out, &mut index);
    fs::write(&file, index.to_string()).unwrap();
    refused(open(&out))
}

#[test]
fn shards_must_be_there_and_be_what_their_index_says() {
    let first = |index: &serde_json::Value| index["weight_map"]["transformer.wte.weight"].clone();
    let second = |index: &serde_json::Value| index["weight_map"]["score.weight"].clone();
    says(
        shards(|out, index| fs::remove_file(out.join(first(index).as_str().unwrap())).unwrap()),
        &[
            "model.safetensors.index.json: names the shard 'model-00001-of-0000",
            "is not there; copy all",
        ],
    );
    says(
        shards(|_, index| index["weight_map"]["transformer.wte.weight"] = second(index)),
        &[
            "tensor 'transformer.wte.weight': is ",
            "index and shards belong to different models",
        ],
    );
    says(
        shards(|_, index| {
            let map = index["weight_map"].as_object_mut().unwrap();
            map.remove("transformer.wpe.weight").unwrap();
        }),
        &["tensor 'transformer.wpe.weight': is in a shard that the index does not name for it"],
    );
    says(
        shards(|_, index| index["weight_map"]["more"] = first(index)),
        &["tensor 'more': is not in the shard that the index names for it"],
    );
    says(
        shards(|_, index| index["weight_map"]["more"] = "../../etc/passwd".into()),
        &["names '../../etc/passwd', which is no file of this folder"],
    );
    says(
        shards(|_, index| index["weight_map"]["more"] = "..".into()),
        &["names '..', which is no file of this folder"],
    );
    says(
        shards(|_, index| *index = value!({})),
        &["is not the index of a sharded model"],
    );
    says(
        shards(|out, index| {
            let file = out.join(second(index).as_str().unwrap());
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() - 8]).unwrap();
        }),
        &["model-0000", "more or fewer bytes"],
    );
}

/// What loading an altered fixture as `class` says.
fn unfit(
    name: &str,
    class: Architecture,
    tensors: impl FnOnce(&mut Tensors),
    config: impl FnOnce(&mut serde_json::Value),
) -> Error {
    let folder = model(name, tensors, config);
    let checkpoint = match open(folder.path()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return error,
    };
    match checkpoint.layout(class) {
        Ok(layout) => refused(checkpoint.report(&layout)),
        Err(error) => error,
    }
}

#[test]
fn tensors_of_another_model_are_told_from_their_shapes() {
    let set =
        |key: &'static str, to: u64| move |config: &mut serde_json::Value| config[key] = to.into();
    says(
        unfit(
            "bert_mlm",
            class("BertForMaskedLM"),
            kept,
            set("vocab_size", 40),
        ),
        &[
            "'bert.embeddings.word_embeddings.weight': has a vocabulary of 37, expected 40",
            "tokeniser",
        ],
    );
    says(
        unfit(
            "gpt2_lm",
            class("GPT2LMHeadModel"),
            kept,
            set("vocab_size", 36),
        ),
        &["'transformer.wte.weight': has a vocabulary of 37, expected 36"],
    );
    says(
        unfit(
            "gpt2_lm",
            class("GPT2LMHeadModel"),
            kept,
            set("n_positions", 15),
        ),
        &["'transformer.wpe.weight': has 14 positions, expected 15"],
    );
    says(
        unfit(
            "bert_mlm",
            class("BertForMaskedLM"),
            kept,
            set("hidden_size", 32),
        ),
        &["expected shape [37, 32], found [37, 16]; the weights belong to another model"],
    );
    says(
        unfit(
            "bert_classifier",
            class("BertForSequenceClassification"),
            kept,
            |config| config["id2label"] = value!({"0": "no", "1": "yes"}),
        ),
        &["'classifier.weight': is a head for 3 labels, expected 2"],
    );
    says(
        unfit("bert_mlm", class("BertForMaskedLM"), kept, |config| {
            config["hidden_size"] = "wide".into()
        }),
        &["config.json: is not the configuration of a BertForMaskedLM"],
    );
}

#[test]
fn tensors_that_contradict_each_other_are_refused() {
    let twice = |tensors: &mut Tensors| {
        let bias = get(tensors, "bert.embeddings.LayerNorm.bias").clone();
        tensors.push(("embeddings.LayerNorm.beta".into(), bias));
    };
    says(
        unfit("bert_mlm", class("BertForMaskedLM"), twice, same),
        &[
            "stands for 'bert.embeddings.LayerNorm.bias', and so does '",
            "keep one of them",
        ],
    );
    let untied = |tensors: &mut Tensors| {
        let mut table = get(tensors, "transformer.wte.weight").clone();
        table.bytes[0] ^= 1;
        tensors.push(("lm_head.weight".into(), table));
    };
    says(
        unfit("gpt2_lm", class("GPT2LMHeadModel"), untied, same),
        &["'lm_head.weight': differs from 'transformer.wte.weight'"],
    );
    // A class that does not use it only leaves it unread.
    let folder = model("gpt2_lm", untied, same);
    let checkpoint = open(folder.path()).unwrap();
    let layout = checkpoint.layout(class("GPT2Model")).unwrap();
    assert_eq!(
        checkpoint.report(&layout).unwrap().unexpected,
        ["lm_head.weight"]
    );

    let integers = model(
        "gpt2_lm",
        |t| get(t, "transformer.ln_f.bias").dtype = Dtype::I32,
        same,
    );
    let checkpoint = open(integers.path()).unwrap();
    says(
        refused(checkpoint.values("transformer.ln_f.bias")),
        &["'transformer.ln_f.bias': holds I32", "F32, F16 and BF16"],
    );
    says(
        refused(checkpoint.values("no")),
        &["tensor 'no': is missing"],
    );
}

#[test]
fn conversions_that_cannot_be_are_refused() {
    let bert = open(&fixture("bert_mlm")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = SaveOptions::default();
    let convert =
        |out: &Path, class: Architecture| refused(hub::convert(&bert, out, Some(class), &options));
    let out = dir.path().join("out");
    says(
        convert(&out, class("GPT2LMHeadModel")),
        &["cannot become a GPT2LMHeadModel: it is a bert"],
    );
    says(
        convert(&out, class("BertForSequenceClassification")),
        &[
            "lacks 4 tensors",
            "bert.pooler.dense.weight",
            "classifier.weight",
        ],
    );
    assert!(!out.exists());
    fs::write(dir.path().join("note"), "mine").unwrap();
    says(
        convert(dir.path(), class("BertForMaskedLM")),
        &["is not empty; give a new folder"],
    );
    assert_eq!(fs::read(dir.path().join("note")).unwrap(), b"mine");
    says(
        refused(models::architecture("bertformaskedlm")),
        &[
            "no architecture 'bertformaskedlm'",
            "did you mean 'BertForMaskedLM'?",
        ],
    );
    let foreign = model("bert_mlm", kept, |c| {
        c["architectures"] = value!(["BertForQuestionAnswering"])
    });
    let foreign = open(foreign.path()).unwrap();
    says(
        refused(foreign.architecture()),
        &["BertForQuestionAnswering", "convert --as BertModel"],
    );
}
