//! A language model of Llama's family from nothing, into a GGUF file, and adapters on its packed weights.

use super::support::{Workplace, stage};
use super::transformers::json;

/// A tiny one, pretrained for a few steps; rows of 64 and 128, whole blocks of every kind but the largest.
fn base(kind: &str) -> Workplace {
    let head = format!(
        r#"
name = "base"
[tokenizer]
kind = "bpe"
vocabulary = 300
[model]
kind = "{kind}"
hidden = 64
heads = 2
layers = 2
feed_forward = 128
max_positions = 64
dropout = 0.0
attention_dropout = 0.0
[data]
source = "files"
path = "text.txt"
validation = 0.1
test_share = 0.0
"#
    );
    let clm = "objective = \"clm\"\nmax_len = 16\nbatch = 8\nbudget = { steps = 60 }\nlr = 0.01\n";
    let w = Workplace::with(&head, &[stage("clm", "pretrain", clm)]);
    let line = "the red fox runs to the old mill and the grey cat sleeps by the warm stove\n";
    w.write("text.txt", line.repeat(60));
    w.good(&["train", "run.toml", "--quiet", "--out", "base"]);
    w.good(&["convert", "base/clm", "base.gguf", "--quant", "q8_0"]);
    w
}

/// Fine-tunes an adapter on `init`, and returns its loss.
fn adapter(w: &Workplace, init: &str, out: &str, more: &[&str]) -> f64 {
    w.write(
        "notes.jsonl",
        "{\"text\": \"the red fox sleeps by the old mill\"}\n".repeat(60),
    );
    let mut arguments = vec!["train", "--preset", "sft", "--init", init, "--out", out];
    arguments.extend(["--data", "notes.jsonl", "--quiet"]);
    for set in [
        "stage.sft.budget.steps=20",
        "stage.sft.max_len=16",
        "stage.sft.lr=0.01",
        "stage.sft.accumulate=1",
    ] {
        arguments.extend(["--set", set]);
    }
    for set in more {
        arguments.extend(["--set", set]);
    }
    w.good(&arguments);
    let results = json(&String::from_utf8(w.read(&format!("{out}/results.json"))).unwrap());
    results["units"][0]["validation"]["loss"].as_f64().unwrap()
}

#[test]
fn adapters_learn_on_a_base_in_blocks() {
    let w = base("llama");
    let prompt = ["--max-tokens", "6", "--temperature", "0"];
    let written =
        |model: &str| w.good(&[&["generate", model, "the red fox"], &prompt[..]].concat());
    assert_eq!(written("base.gguf"), written("base/clm"));

    let plain = adapter(&w, "base/clm", "plain", &[]);
    let q8 = adapter(&w, "base.gguf", "q8", &[]);
    assert!(
        (q8 - plain).abs() < 0.05 * plain,
        "{q8} on Q8_0, {plain} on f32"
    );
    // Four bits are fewer than this model needs, and the adapter learns all the same.
    let nf4 = adapter(&w, "base/clm", "nf4", &["stage.sft.lora.base=nf4"]);
    assert!(nf4 < 1.0, "{nf4} on NF4");
    assert!(nf4 != plain && q8 != plain);
    let double = [
        "stage.sft.lora.base=nf4",
        "stage.sft.lora.double_quant=true",
    ];
    let double = adapter(&w, "base/clm", "double", &double);
    assert!(
        (double - nf4).abs() < 0.1 * nf4 && double != nf4,
        "{double}, {nf4}"
    );
    assert!(
        written("q8/sft").contains("sleeps"),
        "{}",
        written("q8/sft")
    );

    // Lengths of rows are learned on it as well, and gone on with.
    let dora = ["stage.sft.lora.dora=true", "stage.sft.lora.base=nf4"];
    let dora = adapter(&w, "base/clm", "dora", &dora);
    assert!(dora < 1.0 && dora != nf4, "{dora} on NF4, {nf4} without");
    let config = json(&String::from_utf8(w.read("dora/sft/model/adapter_config.json")).unwrap());
    assert_eq!(config["use_dora"], true);
    let further = adapter(&w, "dora", "dora-on", &[]);
    assert!(further < dora, "{further} after {dora}");
    w.good(&["merge", "base/clm", "dora-on", "dora-merged"]);
    assert_eq!(written("dora-merged"), written("dora-on/sft"));

    // Beside a base that stays in its blocks, an adapter is what it is merged.
    let beside = |model: &str, lora: &[&str]| {
        let loras = lora.iter().flat_map(|lora| ["--lora", *lora]);
        let all: Vec<&str> = ["generate", model, "the red fox"]
            .into_iter()
            .chain(prompt)
            .chain(loras)
            .collect();
        w.good(&all)
    };
    assert_eq!(beside("base.gguf", &["q8"]), written("q8/sft"));
    assert_eq!(beside("base/clm", &["dora-on"]), written("dora-merged"));
    assert_eq!(beside("base.gguf", &["q8:0"]), written("base.gguf"));
    assert_eq!(beside("q8", &["q8:-1"]), written("base.gguf"));
    let said = w.refused(&["generate", "base.gguf", "x", "--lora", "base/clm"], 5);
    assert!(said.contains("is no adapter folder"), "{said}");

    // Preferences on the same base, first anew and then with the adapter that knows the text.
    let pairs = "{\"prompt\": \"the red fox\", \"chosen\": \" runs\", \"rejected\": \" sleeps\"}\n";
    w.write("pairs.jsonl", pairs.repeat(20));
    for (init, out) in [("base.gguf", "dpo"), ("q8", "dpo-on")] {
        let mut arguments = vec!["train", "--preset", "dpo", "--init", init, "--out", out];
        arguments.extend(["--data", "pairs.jsonl", "--quiet"]);
        for set in [
            "stage.dpo.budget.steps=15",
            "stage.dpo.max_len=16",
            "stage.dpo.lr=0.01",
            "stage.dpo.accumulate=1",
        ] {
            arguments.extend(["--set", set]);
        }
        w.good(&arguments);
        let results = json(&String::from_utf8(w.read(&format!("{out}/results.json"))).unwrap());
        let scores = &results["units"][0]["validation"];
        assert_eq!(scores["reward_accuracy"], 1.0, "{init}: {scores}");
        assert!(scores["reward_chosen"].as_f64() > Some(0.0), "{scores}");
        assert!(scores["reward_rejected"].as_f64() < Some(0.0), "{scores}");
    }
    let preferred = written("dpo/dpo");
    assert!(preferred.contains("fox runs"), "{preferred}");

    let bad = w.run(&[
        "train",
        "--preset",
        "sft",
        "--init",
        "base/clm",
        "--data",
        "notes.jsonl",
        "--set",
        "stage.sft.lora.base=\"q9\"",
        "--out",
        "bad",
    ]);
    let said = String::from_utf8_lossy(&bad.stderr);
    assert_eq!(bad.status.code(), Some(2), "{said}");
    assert!(said.contains("lora.base") && said.contains("nf4"), "{said}");
}

/// Before anything is written, and by every command that asks a model.
#[test]
fn an_adapter_of_another_base_is_refused() {
    let w = Workplace::with("", &[]);
    let hf = |name: &str| format!("{}/tests/fixtures/hf/{name}", env!("CARGO_MANIFEST_DIR"));
    let (base, other, lora) = (hf("llama_lm"), hf("qwen3_lm"), hf("llama_lora"));
    let cases: [&[&str]; 5] = [
        &["generate", &lora, "x", "--base", &other],
        &["generate", &other, "x", "--lora", &lora],
        &["chat", &lora, "--base", &other],
        &["chat", &other, "--lora", &lora],
        &["merge", &other, &lora, "merged"],
    ];
    for command in cases {
        let said = w.refused(command, 5);
        assert!(said.contains("belongs to another base model"), "{said}");
    }
    let bert = hf("bert_lora");
    let said = w.refused(&["generate", &base, "x", "--lora", &bert], 5);
    assert!(said.contains("target_modules match nothing"), "{said}");
}
