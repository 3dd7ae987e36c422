//! Transformers and adapters that do not fit, and what is said then.

use super::support::{Workplace, data, stage};
use super::transformers::{BERT, bert, head, mlm};

fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

/// With a tiny BERT in `base/mlm/model`.
fn with_base() -> Workplace {
    let w = bert(&[mlm("")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "base"]);
    w
}

fn finetune(w: &Workplace, lines: &str) {
    let head = head("wordpiece", "kind = \"pretrained\"");
    let lines = format!("init = './base/mlm/model'\n{lines}");
    w.write(
        "finetune.toml",
        head + &stage("finetune", "finetune", &lines),
    );
}

#[test]
fn what_does_not_fit_the_model_is_named() {
    let w = with_base();
    for (lines, code, words) in [
        (
            "max_len = 33",
            2,
            &["stage.finetune.max_len: is 33", "32 positions"][..],
        ),
        (
            "lora = { rank = 0 }",
            2,
            &["stage.finetune.lora.rank: should be at least 1"],
        ),
        (
            "lora = { targets = [\"c_attn\"] }",
            2,
            &[
                "stage.finetune.lora.targets: ",
                "match nothing",
                "attention.self.query",
            ],
        ),
        (
            "lora = { targets = ['LayerNorm'] }",
            2,
            &["stage.finetune.lora.targets: ", "no linear layer"],
        ),
        (
            "lora = { rows = \"qv\" }",
            2,
            &["stage.finetune.lora.rows: ", "joint projection c_attn"],
        ),
        (
            "lora = { modules_to_save = [\"scores\"] }",
            2,
            &["modules_to_save: 'scores' matches no module"],
        ),
        (
            "freeze = \"layer.7\"",
            2,
            &["stage.finetune.freeze: matches no parameter"],
        ),
        (
            "rates = { clasifier = 2.0 }",
            2,
            &["stage.finetune.rates.clasifier: matches no"],
        ),
    ] {
        finetune(&w, lines);
        let error = w.refused(&["train", "finetune.toml", "--quiet", "--out", "run"], code);
        says(&error, words);
        assert!(!w.path("run").exists() || w.path("run").read_dir().unwrap().next().is_none());
    }
}

#[test]
fn a_larger_vocabulary_than_the_models() {
    let w = with_base();
    let small = head("wordpiece", BERT).replace("vocabulary = 400", "vocabulary = 200");
    w.write("small.toml", small + &mlm("budget = { steps = 1 }"));
    w.good(&["train", "small.toml", "--quiet", "--out", "small"]);
    let file = "file = './base/mlm/model/tokenizer.json'";
    finetune(&w, "");
    let text = String::from_utf8(w.read("finetune.toml")).unwrap();
    let text = text.replace("./base/mlm", "./small/mlm");
    w.write("finetune.toml", text.replace("kind = \"wordpiece\"", file));
    let error = w.refused(&["train", "finetune.toml", "--quiet"], 5);
    says(&error, &["tokens, the model's vocab_size is 200"]);
}

#[test]
fn an_adapter_for_another_base() {
    let w = with_base();
    finetune(&w, "lora = { rank = 2 }");
    w.good(&["train", "finetune.toml", "--quiet", "--out", "lora"]);
    let wider = head("wordpiece", &BERT.replace("hidden = 16", "hidden = 24"));
    w.write("wider.toml", wider + &mlm("budget = { steps = 1 }"));
    w.good(&["train", "wider.toml", "--quiet", "--out", "wider"]);
    let text = "a film";
    let error = w.refused(&["predict", "lora", text, "--base", "wider/mlm/model"], 5);
    says(&error, &["belongs to another base model"]);
    // A base that is gone, and a model that is no adapter.
    std::fs::rename(w.path("base"), w.path("moved")).unwrap();
    says(
        &w.refused(&["predict", "lora", text], 5),
        &["give it with --base"],
    );
    w.good(&["predict", "lora", text, "--base", "moved/mlm/model"]);
    let error = w.refused(&["predict", "moved", text, "--base", "moved/mlm/model"], 2);
    says(&error, &["--base", "is for adapters"]);
}

#[test]
fn commands_for_other_models() {
    let w = with_base();
    for (arguments, code, words) in [
        (
            &["generate", "base", "a"][..],
            5,
            &["is a BERT", "fill-mask"][..],
        ),
        (&["predict", "base", "a"], 5, &["is no classifier"]),
        (
            &["fill-mask", "base", "no blank"],
            2,
            &["with the mask token in it"],
        ),
        (
            &["fill-mask", "base", &"[MASK] ".repeat(40)],
            2,
            &["42 tokens"],
        ),
        (
            &["fill-mask", "nowhere", "[MASK]"],
            5,
            &["nowhere: is no model folder"],
        ),
        (
            &[
                "train", "--preset", "finetune", "--quiet", "--data", "run.toml",
            ],
            2,
            &["--init DIR"],
        ),
        (
            &["train", "--init", "base", "--quiet"],
            2,
            &["--init: is for transformers"],
        ),
    ] {
        says(&w.refused(arguments, code), words);
    }
    let reviews = data("reviews.csv");
    let error = w.refused(
        &[
            "train",
            "--preset",
            "finetune",
            "--quiet",
            "--init",
            "base",
            "--set",
            "stage.finetune.objective=\"clm\"",
            "--data",
            reviews.to_str().unwrap(),
        ],
        2,
    );
    says(&error, &["stage.finetune.objective"]);
}
