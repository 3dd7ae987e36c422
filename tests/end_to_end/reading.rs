//! Texts as people have them, read by the program: one book, tables, standard input.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::support::{Workplace, data, stage};
use super::transformers::{BERT, GPT2, bert, head, json, mlm};

/// A preset at the smallest sizes.
fn pretrain(w: &Workplace, preset: &str, data: &str, out: &str) -> Value {
    let small = [
        "tokenizer.vocabulary=300",
        "model.hidden=16",
        "model.layers=1",
        "model.heads=2",
        "model.max_positions=32",
        "stage.pretrain.max_len=16",
        "stage.pretrain.batch=4",
        "stage.pretrain.budget={steps=2}",
    ];
    let mut all = vec!["train", "--preset", preset, "--scale", "small"];
    all.extend(["--data", data, "--out", out, "--quiet"]);
    all.extend(small.into_iter().flat_map(|set| ["--set", set]));
    w.good(&all);
    json(&String::from_utf8(w.read(&format!("{out}/results.json"))).unwrap())
}

const PRESETS: [&str; 3] = ["bert-mlm", "bert-mlm-nsp", "gpt2"];

#[test]
fn one_book_is_enough_to_pretrain_on() {
    let w = Workplace::with("", &[]);
    let book = std::fs::read_to_string(data("unlabelled.txt")).unwrap();
    w.write("line.txt", book.replace('\n', " "));
    std::fs::create_dir(w.path("books")).unwrap();
    w.write("books/one.txt", &book);
    for preset in PRESETS {
        for source in ["line.txt", "books"] {
            let out = format!("{preset}-{source}");
            let results = pretrain(&w, preset, source, &out);
            // Its end was held out, and scored.
            let said = results.to_string();
            assert!(said.contains("perplexity"), "{said}");
            let metrics = String::from_utf8(w.read(&format!("{out}/metrics.jsonl"))).unwrap();
            assert!(metrics.contains("validation"), "{metrics}");
        }
    }
    let lm = stage(
        "lm",
        "pretrain",
        "objective = \"lm\"\nbudget = { steps = 2 }",
    );
    let sa = stage(
        "sa",
        "pretrain",
        "objective = \"sa\"\nbudget = { steps = 2 }",
    );
    let lstm = "name = \"b\"\n[tokenizer]\nvocabulary = 200\nmin_frequency = 1\n[model]\nembedding = 8\n\
                hidden = 16\n[data]\nsource = \"files\"\npath = \"line.txt\"\n";
    w.write("lstm.toml", lstm.to_string() + &lm + &sa);
    w.good(&["train", "lstm.toml", "--quiet", "--out", "lstm"]);
}

#[test]
fn tables_with_labels_are_texts_to_who_learns_no_labels() {
    let w = Workplace::with("", &[]);
    let texts = std::fs::read_to_string(data("unlabelled.txt")).unwrap();
    let table = |label: &dyn Fn(usize) -> String| {
        let row =
            |(n, text): (usize, &str)| format!("\"{}\",{}\n", text.replace('"', "\"\""), label(n));
        let rows: String = texts.lines().take(40).enumerate().map(row).collect();
        format!("text,label\n{rows}")
    };
    // Numbers of which no two are equal; one class; a class of one text; a row without label.
    w.write("numbers.csv", table(&|n| format!("{n}.5")));
    w.write("one.csv", table(&|_| "yes".into()));
    w.write(
        "rare.csv",
        table(&|n| if n == 3 { "rare" } else { "so" }.into()),
    );
    w.write(
        "some.csv",
        table(&|n| if n % 2 == 0 { "" } else { "so" }.into()),
    );
    for (n, preset) in PRESETS.into_iter().enumerate() {
        for source in ["numbers.csv", "one.csv", "rare.csv", "some.csv"] {
            pretrain(&w, preset, source, &format!("{n}-{source}"));
        }
    }
}

#[test]
fn a_classifier_of_gpt2_says_what_fills_its_batches() {
    let merged = "init = \"clm\"\nlora = { rank = 2 }";
    let w = Workplace::with(
        &head("bpe", GPT2),
        &[
            stage("clm", "pretrain", "objective = \"clm\"\npacking = true"),
            stage("classify", "finetune", "init = \"clm\""),
            stage("lora", "finetune", merged),
        ],
    );
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let read = |file: &str| json(&String::from_utf8(w.read(file)).unwrap());
    let model = read("run/classify/model/config.json");
    assert!(model["pad_token_id"].is_u64(), "{model}");
    assert_eq!(model["pad_token_id"], model["eos_token_id"]);
    for folder in ["classify", "lora"] {
        let tokenizer = read(&format!("run/{folder}/model/tokenizer_config.json"));
        assert_eq!(tokenizer["pad_token"], "<|endoftext|>", "{folder}");
        let special = read(&format!("run/{folder}/model/special_tokens_map.json"));
        assert_eq!(special["pad_token"], "<|endoftext|>", "{folder}");
    }
    // What writes on has no need of it.
    let writer = read("run/clm/model/config.json");
    assert_eq!(writer["pad_token_id"], Value::Null);
    w.good(&["merge", "run/clm", "run/lora", "merged"]);
    let merged = read("merged/config.json");
    assert_eq!(merged["pad_token_id"], model["eos_token_id"]);
    let answer = json(&w.good(&["predict", "merged", "a fine film", "--json"]));
    let again = json(&w.good(&["predict", "run/lora", "a fine film", "--json"]));
    assert_eq!(answer["label"], again["label"]);
}

/// Starts a command and gives it `input`.
fn told(w: &Workplace, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = w.command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn standard_input_may_have_a_mark_and_loses_no_line_before_a_wrong_one() {
    let w = bert(&[mlm(""), stage("c", "finetune", "init = \"mlm\"")]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let predict = ["predict", "run/c", "--json"];
    let plain = told(&w, &predict, "a fine film\nso dull\n".as_bytes());
    assert!(plain.status.success());
    assert_eq!(plain.stdout.iter().filter(|b| **b == b'\n').count(), 2);
    let marked = "\u{feff}a fine film\r\nso dull\r\n";
    let wide: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for input in [marked.as_bytes(), &wide] {
        assert_eq!(told(&w, &predict, input).stdout, plain.stdout);
    }
    let wrong = told(&w, &predict, b"a fine film\nso dull\nna\xefve\nlate\n");
    assert_eq!(wrong.status.code(), Some(4));
    assert_eq!(wrong.stdout, plain.stdout);
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        said.contains("'standard input'") && said.contains("line 3"),
        "{said}"
    );
    // A name that is most likely misspelt is no text.
    let error = w.refused(&["embed", "run/mlm", "sentences.txt"], 5);
    assert!(error.contains("sentences.txt"), "{error}");
    let error = w.refused(&["embed", "run/mlm", "a", "--max-len", "0"], 2);
    assert!(error.contains("--max-len"), "{error}");
    w.good(&["embed", "run/mlm", "It ends in .txt"]);
}

#[test]
fn standard_output_holds_nothing_but_results() {
    let w = Workplace::with(&head("wordpiece", BERT), &[]);
    let gaps =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/gaps");
    let out = w.run(&[
        "tokenizer",
        "encode",
        gaps.to_str().unwrap(),
        "a film",
        "--json",
    ]);
    assert!(out.status.success());
    // The library says on standard output that this vocabulary has gaps.
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(json(&said)["tokens"][1], "a");
    let help = w.good(&["--help"]);
    assert!(help.contains("tokenizer"), "{help}");
}
