//! Training on conversations from outside: the loss of a batch, what is cut, what is refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fixture, folder, model};

/// A folder with the random Llama of the fixture, its tokeniser and template, and the first conversations.
pub fn workplace() -> TempDir {
    let fixture = fixture();
    let (own, _) = model(fixture["sft"]["template"].as_str().unwrap());
    for name in ["config.json", "model.safetensors"] {
        fs::copy(folder().join("model").join(name), own.path().join(name)).unwrap();
    }
    let talks = fixture["conversations"].as_array().unwrap();
    let lines: Vec<String> = talks.iter().take(3).map(Value::to_string).collect();
    fs::write(own.path().join("chat.jsonl"), lines.join("\n")).unwrap();
    own
}

/// One step on all rows, with what `set` changes.
fn train(workplace: &Path, set: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_melos"));
    command.current_dir(workplace);
    command.args([
        "train",
        "--preset",
        "sft-full",
        "--init",
        ".",
        "--data",
        "chat.jsonl",
        "--out",
        "run",
    ]);
    let usual = [
        "data.validation=0",
        "stage.sft.max_len=128",
        "stage.sft.batch=3",
        "stage.sft.accumulate=1",
    ];
    for set in usual.iter().chain(&["stage.sft.budget.steps=1"]).chain(set) {
        command.args(["--set", set]);
    }
    command.env_remove("RUST_LOG");
    command.output().expect("the program starts")
}

fn refused(workplace: &Path, set: &[&str], code: i32) -> String {
    let out = train(workplace, set);
    let error = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{error}");
    error
}

/// The losses of the steps of a run.
fn losses(workplace: &Path, set: &[&str]) -> Vec<f64> {
    let out = train(workplace, set);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{error}");
    let lines = fs::read_to_string(workplace.join("run/metrics.jsonl")).unwrap();
    let events = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let loss = |event: Value| event["loss"].as_f64().filter(|_| event["event"] == "loss");
    events.filter_map(loss).collect()
}

#[test]
fn the_loss_is_the_mean_over_the_assistants_tokens_of_a_batch() {
    for (length, wanted) in fixture()["sft"]["by_length"].as_object().unwrap() {
        let own = workplace();
        let max_len = format!("stage.sft.max_len={length}");
        let found = losses(own.path(), &[&max_len]);
        let wanted = wanted["loss"].as_f64().unwrap();
        assert_eq!(found.len(), 1);
        assert!(
            (found[0] - wanted).abs() < 2e-5 * wanted,
            "{length}: {found:?} {wanted}"
        );
        // What is written speaks as it was taught.
        let template = own.path().join("run/sft/model/chat_template.jinja");
        let text = fs::read_to_string(template).unwrap();
        assert_eq!(text, fixture()["templates"]["qwen2.5"]["text"]);
    }
}

#[test]
fn rows_in_several_batches_of_a_step_weigh_by_their_tokens() {
    let own = workplace();
    let set = ["stage.sft.batch=1", "stage.sft.accumulate=3"];
    let found = losses(own.path(), &set);
    let wanted = fixture()["sft"]["by_length"]["128"]["loss"]
        .as_f64()
        .unwrap();
    assert!(
        (found[0] - wanted).abs() < 2e-5 * wanted,
        "{found:?} {wanted}"
    );
}

/// As transformers' label smoother and TRL's NEFTune they change what is learned, and not how it is scored.
#[test]
fn smoothing_and_noise_are_for_training() {
    let own = workplace();
    let plain = losses(own.path(), &["stage.sft.label_smoothing=0"]);
    fs::remove_dir_all(own.path().join("run")).unwrap();
    let smoothed = losses(own.path(), &["stage.sft.label_smoothing=0.2"]);
    fs::remove_dir_all(own.path().join("run")).unwrap();
    let noisy = losses(own.path(), &["stage.sft.neftune_noise_alpha=20"]);
    assert!(smoothed != plain && noisy != plain && noisy != smoothed);
    for (set, key) in [
        ("stage.sft.label_smoothing=1", "label_smoothing"),
        ("stage.sft.neftune_noise_alpha=-1", "neftune_noise_alpha"),
    ] {
        let error = refused(own.path(), &[set], 2);
        assert!(error.contains(key), "{error}");
    }
}

/// Three rows hold six texts, which each in a row of its own have the same loss.
#[test]
fn packed_rows_learn_what_their_conversations_do_alone() {
    let own = workplace();
    let texts = [
        "one",
        "two birds",
        "three red foxes",
        "four",
        "five old mills",
        "six",
    ];
    let lines: Vec<String> = texts
        .iter()
        .map(|text| json!({"text": text}).to_string())
        .collect();
    fs::write(own.path().join("chat.jsonl"), lines.join("\n")).unwrap();
    let alone = losses(own.path(), &["stage.sft.batch=6"]);
    fs::remove_dir_all(own.path().join("run")).unwrap();
    let packed = losses(own.path(), &["stage.sft.packing=true"]);
    assert_eq!((alone.len(), packed.len()), (1, 1));
    assert!(
        (packed[0] - alone[0]).abs() < 1e-5 * alone[0],
        "{packed:?} {alone:?}"
    );
}

#[test]
fn what_leaves_nothing_to_learn_is_refused_with_its_key() {
    let own = workplace();
    let error = refused(own.path(), &["stage.sft.max_len=32"], 2);
    assert!(
        error.contains("stage.sft.max_len") && error.contains("an answer is left to learn"),
        "{error}"
    );
    let error = refused(own.path(), &["stage.sft.template=chatlm"], 2);
    assert!(
        error.contains("stage.sft.template") && error.contains("chatml"),
        "{error}"
    );
    let error = refused(own.path(), &["stage.sft.learn=some"], 2);
    assert!(error.contains("stage.sft.learn"), "{error}");
}

#[test]
fn rows_that_a_template_refuses_are_named() {
    let own = workplace();
    let raising = json!({"eos_token": "<|im_end|>", "chat_template": "{{ raise_exception('no ' + messages[0].role) }}"});
    fs::write(
        own.path().join("tokenizer_config.json"),
        raising.to_string(),
    )
    .unwrap();
    let error = refused(own.path(), &[], 4);
    assert!(
        error.contains("chat.jsonl' line 1") && error.contains("says: no user"),
        "{error}"
    );
    fs::write(own.path().join("tokenizer_config.json"), "{}").unwrap();
    let error = refused(own.path(), &[], 2);
    assert!(
        error.contains("stage.sft.template") && error.contains("alpaca"),
        "{error}"
    );
    let preferences = json!({"prompt": "a", "chosen": "b", "rejected": "c"});
    fs::write(own.path().join("chat.jsonl"), preferences.to_string()).unwrap();
    let error = refused(own.path(), &[], 4);
    assert!(
        error.contains("line 1") && error.contains("a preference"),
        "{error}"
    );
}
