//! What an LSTM can do as any family can: labels of every kind, rates by layer, a folder to start from.

use melos::hub::Array;
use melos::train::state::{TensorMap, read_tensors};

use super::support::{Workplace, data, head, stage};
use super::transformers::json;

/// Texts of three words, with a number and with labels that depend on the first.
fn table(w: &Workplace) {
    let mut rows = String::from("text,score,tags\n");
    for rest in ["old film", "long film", "short play", "new book"] {
        rows += &format!("good {rest},1.5,\"warm,bright\"\n");
        rows += &format!("fair {rest},0,warm\n");
        rows += &format!("bad {rest},-1.5,\n");
    }
    w.write("texts.csv", rows);
}

fn run_file(column: &str, lines: &str) -> String {
    let text = head();
    let (from, to) = (
        text.find("path = ").unwrap(),
        text.find("validation = ").unwrap(),
    );
    let head = format!(
        "{}path = 'texts.csv'\ntest = 'texts.csv'\nlabel_column = \"{column}\"\n{}",
        &text[..from],
        &text[to..]
    );
    let head = head.replace("validation = 0.2", "validation = 0.0");
    head + &stage("a", "finetune", lines)
}

fn predicted(w: &Workplace, text: &str) -> serde_json::Value {
    json(&w.good(&["predict", "run", text, "--json"]))
}

#[test]
fn numbers_are_learned_from_every_state_and_from_the_last() {
    for gain in [false, true] {
        let w = Workplace::with("", &[]);
        table(&w);
        let lines = "problem = \"regression\"\nbudget = { steps = 120 }";
        let file = run_file("score", lines).replace(
            "embedding = 8",
            &format!("linear_gain = {gain}\nembedding = 8"),
        );
        w.write("numbers.toml", file);
        w.good(&["train", "numbers.toml", "--quiet", "--out", "run"]);
        let say = |text: &str| {
            let said = predicted(&w, text);
            said["label"].as_str().unwrap().parse::<f32>().unwrap()
        };
        let [good, bad] = ["good old film", "bad old film"].map(say);
        assert!(good > 0.75 && bad < -0.75, "{gain}: {good} {bad}");
        let results = json(&String::from_utf8(w.read("run/results.json")).unwrap());
        let test = &results["units"][0]["test"];
        assert!(test["pearson"].as_f64().unwrap() > 0.9, "{test}");
        // A folder alone is scored as at the end of the run.
        let scores = json(&w.good(&[
            "eval",
            "run",
            "--data",
            "texts.csv",
            "--label-column",
            "score",
            "--json",
        ]));
        let [own, again] = [test, &scores].map(|s| s["loss"].as_f64().unwrap());
        assert!((own - again).abs() < 1e-5, "{own} {again}");
    }
}

#[test]
fn several_labels_are_learned_and_known_by_the_folder() {
    let w = Workplace::with("", &[]);
    table(&w);
    let lines = "problem = \"multi_label\"\nbudget = { steps = 150 }\nlr = 0.02";
    w.write("tags.toml", run_file("tags", lines));
    w.good(&["train", "tags.toml", "--quiet", "--out", "run"]);
    for (text, label) in [
        ("good new book", "bright, warm"),
        ("fair new book", "warm"),
        ("bad new book", ""),
    ] {
        assert_eq!(predicted(&w, text)["label"], label, "{text}");
    }
}

/// The tensors of a model whose names begin so.
fn part(w: &Workplace, unit: &str, prefix: &str) -> TensorMap {
    let file = w.path(&format!("run/{unit}/model/model.safetensors"));
    let mut tensors = read_tensors(&file).unwrap();
    tensors.retain(|name, _| name.starts_with(prefix));
    assert!(!tensors.is_empty(), "{prefix}");
    tensors
}

fn same(a: &TensorMap, b: &TensorMap) -> bool {
    let values = |m: &TensorMap| {
        m.values()
            .map(|a: &Array| a.values().to_vec())
            .collect::<Vec<_>>()
    };
    values(a) == values(b)
}

#[test]
fn layers_are_frozen_and_unfrozen_one_by_one() {
    let w = Workplace::new(&[
        stage("lm", "pretrain", "objective = \"lm\""),
        stage(
            "frozen",
            "finetune",
            "init = \"lm\"\nfreeze = \"embeddings\"\nlayer_decay = 0.5",
        ),
        // The head alone, then the LSTM, then the embeddings.
        stage(
            "early",
            "finetune",
            "init = \"lm\"\nunfreeze_every = { steps = 3 }\nbudget = { steps = 3 }",
        ),
        stage(
            "later",
            "finetune",
            "init = \"lm\"\nunfreeze_every = { steps = 3 }\nbudget = { steps = 6 }",
        ),
    ]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    for (unit, embedding, lstm) in [
        ("frozen", true, false),
        ("early", true, true),
        ("later", true, false),
    ] {
        for (prefix, kept) in [("embedding.", embedding), ("lstm.", lstm)] {
            let [before, after] = ["lm", unit].map(|unit| part(&w, unit, prefix));
            assert_eq!(same(&before, &after), kept, "{unit}: {prefix}");
        }
    }
}

#[test]
fn a_run_starts_from_an_lstms_folder_as_from_any() {
    let w = Workplace::new(&[stage("lm", "pretrain", "objective = \"lm\"")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let reviews = data("reviews.csv").display().to_string();
    let set = [
        "--set",
        "stage.*.budget={ steps = 2 }",
        "--set",
        "stage.*.max_len=16",
    ];
    let mut train = vec!["train", "--preset", "finetune", "--init", "run"];
    train.extend(["--data", &reviews, "--quiet", "--out", "next"]);
    train.extend(set);
    w.good(&train);
    // Its words keep their numbers, and its sizes are those of the folder.
    assert_eq!(
        w.read("next/finetune/model/tokenizer.json"),
        w.read("run/lm/model/tokenizer.json")
    );
    let config = json(&String::from_utf8(w.read("next/finetune/model/config.json")).unwrap());
    assert_eq!(config["lstm"]["hidden_size"], 16);
    assert_eq!(config["objective"], "classifier");
    w.good(&["predict", "next", "a good film"]);
    let refused = w.refused(&["predict", "next", "--pairs", "a\tb"], 2);
    assert!(refused.contains("an LSTM reads one"), "{refused}");
    w.write(
        "pairs.csv",
        "text,pair,label\na,b,yes\nc,d,no\ne,f,yes\ng,h,no\n",
    );
    let mut pairs = vec!["train", "--preset", "finetune", "--init", "run"];
    pairs.extend(["--data", "pairs.csv", "--set", "data.pair_column=\"pair\""]);
    pairs.extend(["--quiet", "--out", "pairs"]);
    pairs.extend(set);
    let refused = w.refused(&pairs, 2);
    assert!(refused.contains("an LSTM reads one"), "{refused}");
    // What it has no head for.
    let refused = w.refused(&["fill-mask", "next", "a [MASK]"], 5);
    assert!(
        refused.contains("is an LSTM, which cannot guess masked tokens; `melos predict`"),
        "{refused}"
    );
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let w = Workplace::new(&[stage("a", "finetune", "budget = { steps = 2 }")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let file = "run/a/model/model.safetensors";
    let mut bytes = w.read(file);
    // The last tensor of the file.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    w.write(file, bytes);
    for command in [
        &["predict", "run", "a film"][..],
        &[
            "train",
            "run.toml",
            "--quiet",
            "--out",
            "next",
            "--set",
            "stage.a.init=\"run\"",
        ],
    ] {
        let refused = w.refused(command, 5);
        assert!(
            refused.contains("'lstm.weight_ih_l0': holds -inf"),
            "{refused}"
        );
    }
    let reviews = data("reviews.csv").display().to_string();
    let eval = w.refused(&["eval", "run", "--data", &reviews], 5);
    assert!(eval.contains("holds -inf"), "{eval}");
}
