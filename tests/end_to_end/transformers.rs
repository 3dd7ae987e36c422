//! BERT and GPT-2 from text to files and back: tiny ones, seconds each.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::resume::resumes_in;
use super::support::{Workplace, data, stage};

/// A run file up to its stages; `model` are the lines of `[model]`.
pub fn head(kind: &str, model: &str) -> String {
    format!(
        r#"
name = "tiny"
[tokenizer]
kind = "{kind}"
vocabulary = 400
min_frequency = 1
[model]
{model}
[data]
source = "files"
path = '{}'
test = '{}'
unlabelled = ['{}']
validation = 0.2
[defaults.pretrain]
batch = 4
max_len = 16
lr = 0.01
optimizer = {{ kind = "adamw" }}
budget = {{ steps = 4 }}
[defaults.finetune]
objective = "classify"
batch = 8
max_len = 16
lr = 0.01
clip_norm = 1.0
optimizer = {{ kind = "adamw" }}
budget = {{ steps = 4 }}
"#,
        data("reviews.csv").display(),
        data("reviews_test.csv").display(),
        data("unlabelled.txt").display(),
    )
}

pub const BERT: &str = "kind = \"bert\"\nhidden = 16\nlayers = 2\nheads = 2\nmax_positions = 32";
pub const GPT2: &str = "kind = \"gpt2\"\nhidden = 16\nlayers = 2\nheads = 2\nmax_positions = 32";

pub fn bert(stages: &[String]) -> Workplace {
    Workplace::with(&head("wordpiece", BERT), stages)
}

pub fn mlm(lines: &str) -> String {
    stage("mlm", "pretrain", &format!("objective = \"mlm\"\n{lines}"))
}

/// The tensors of a model folder, by name.
fn tensors(folder: &Path) -> BTreeMap<String, Vec<u32>> {
    let model = melos::models::open(folder).unwrap();
    let names: Vec<String> = model.names().map(String::from).collect();
    let bits = |name: &String| {
        let values = model.values(name).unwrap();
        values.iter().map(|x| x.to_bits()).collect()
    };
    names
        .iter()
        .map(|name| (name.clone(), bits(name)))
        .collect()
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn bert_is_pretrained_then_fine_tuned_whole_and_by_an_adapter() {
    let w = bert(&[
        mlm("packing = true"),
        stage("finetune", "finetune", "init = \"mlm\""),
        stage(
            "lora",
            "finetune",
            "init = \"mlm\"\nlora = { rank = 2, alpha = 4, targets = [\"query\", \"value\"] }",
        ),
    ]);
    let out = w.run(&["train", "run.toml", "--out", "run"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    // A new head, and what of the old one is left, are reported.
    assert!(
        said.contains("begun anew: bert.pooler.dense.weight"),
        "{said}"
    );
    assert!(said.contains("classifier.weight"), "{said}");
    assert!(said.contains("not used: cls.predictions.bias"), "{said}");
    // q and v of two layers: 4 x 2 x (16 + 16); the pooler's 272 and the head's 34.
    assert!(said.contains("lora: trains 562 of "), "{said}");
    let filled = w.good(&[
        "fill-mask",
        "run/mlm",
        "the [MASK] was [MASK]",
        "--top",
        "3",
        "--json",
    ]);
    let blanks: Vec<Value> = filled.lines().map(json).collect();
    assert_eq!(blanks.len(), 2);
    for blank in &blanks {
        let guesses = blank["guesses"].as_array().unwrap();
        let scores: Vec<f64> = guesses
            .iter()
            .map(|g| g["score"].as_f64().unwrap())
            .collect();
        assert_eq!(scores.len(), 3);
        assert!(
            scores.is_sorted_by(|a, b| a >= b)
                && scores[2] > 0.0
                && scores.iter().sum::<f64>() < 1.0
        );
        // The other mask stays.
        for guess in guesses {
            let sequence = guess["sequence"].as_str().unwrap();
            let masks = 1 + usize::from(guess["token_str"] == "[MASK]");
            assert_eq!(sequence.matches("[MASK]").count(), masks, "{sequence}");
            assert!(!sequence.contains("[CLS]") && !sequence.contains("[SEP]"));
        }
    }
    let scores = json(&w.good(&[
        "eval",
        "run/mlm",
        "--json",
        "--data",
        data("unlabelled.txt").to_str().unwrap(),
    ]));
    assert!(scores["perplexity"].as_f64().unwrap() > 1.0, "{scores}");
    assert!((0.0..=1.0).contains(&scores["accuracy"].as_f64().unwrap()));

    let test = data("reviews_test.csv");
    let results: Value = json(&String::from_utf8(w.read("run/results.json")).unwrap());
    for (n, unit) in ["finetune", "lora"].into_iter().enumerate() {
        let folder = format!("run/{unit}/model");
        let label = json(&w.good(&["predict", &folder, "a wonderful film", "--json"]));
        let sum: f64 = label["probabilities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p[1].as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-6, "{label}");
        // What was tested at the end of training is what comes out of the files: the same numbers
        // for the whole model; an adapter's are merged into its base, and differ in the last digits.
        let again = json(&w.good(&["eval", &folder, "--json", "--data", test.to_str().unwrap()]));
        let then = &results["units"][n + 1]["test"];
        assert_eq!(
            again["classes"]["confusion"], then["classes"]["confusion"],
            "{unit}"
        );
        let (a, b) = (
            again["loss"].as_f64().unwrap(),
            then["loss"].as_f64().unwrap(),
        );
        assert!((a - b).abs() < 1e-4 * b, "{unit}: {a} {b}");
    }
    let config = json(&String::from_utf8(w.read("run/lora/model/adapter_config.json")).unwrap());
    assert_eq!(config["task_type"], "SEQ_CLS");
    assert_eq!(config["r"], 2);
    assert_eq!(
        config["modules_to_save"],
        serde_json::json!(["pooler.dense", "classifier"])
    );
    let unit = &results["units"][2];
    assert_eq!(unit["trainable"], 562);
    assert!(unit["peak_memory"].as_u64() > Some(0));
    w.good(&["merge", "run/mlm", "run/lora", "merged"]); // the names of labels come along
    assert!(
        w.good(&["predict", "merged", "a film"])
            .contains("positive")
    );

    let lines = w.good(&["embed", "run/mlm", "a film", "--normalize"]);
    let vector: Vec<f64> = serde_json::from_value(json(&lines)["embedding"].clone()).unwrap();
    let norm: f64 = vector.iter().map(|x| x * x).sum();
    assert!(vector.len() == 16 && (norm - 1.0).abs() < 1e-5, "{norm}");
}

/// A base without the head: it begins anew, is saved whole with the adapter and the output layer
/// that goes with it, and comes back.
#[test]
fn pairs_of_texts_are_classified() {
    let rows = ["one,two,next", "two,one,not", "one,three,not"];
    let w = bert(&[]);
    let table = format!("text,second,label\n{}\n", rows.repeat(8).join("\n"));
    w.write("pairs.csv", table);
    let run = head("wordpiece", BERT).replace("vocabulary = 400", "vocabulary = 60");
    let from = run.find("path = ").unwrap();
    let to = run.find("validation = ").unwrap();
    let data = "path = 'pairs.csv'\npair_column = \"second\"\n";
    let run = format!("{}{data}{}", &run[..from], &run[to..]);
    let lines = "budget = { steps = 60 }\nkept_end = \"head\"";
    w.write("pairs.toml", run + &stage("pairs", "finetune", lines));
    w.good(&["train", "pairs.toml", "--quiet", "--out", "run"]);
    let eval = [
        "eval",
        "run",
        "--json",
        "--data",
        "pairs.csv",
        "--pair-column",
        "second",
    ];
    let scores = json(&w.good(&eval));
    assert_eq!(scores["accuracy"], 1.0, "{scores}");
    for (pair, label) in [
        ("one\ttwo", "next"),
        ("two\tone", "not"),
        ("one\tthree", "not"),
    ] {
        let said = json(&w.good(&["predict", "run", pair, "--pairs", "--json"]));
        assert_eq!(said["label"], label, "{said}");
        assert_eq!(said["pair"].as_str(), pair.split('\t').nth(1));
    }
    let out = w.run(&["predict", "run", "one", "--pairs"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("needs a tab between two texts"));
}

#[test]
fn frozen_parameters_stay_bit_for_bit() {
    let w = bert(&[
        mlm(""),
        stage(
            "parts",
            "finetune",
            "init = \"mlm\"\nfreeze = \"embeddings, layer.0\"",
        ),
        stage(
            "regex",
            "finetune",
            "init = \"mlm\"\nfreeze = 'layer\\.\\d\\.attention'",
        ),
        // Head and pooler for two steps, then the upper layer for two.
        stage(
            "gradual",
            "finetune",
            "init = \"mlm\"\nunfreeze_every = { steps = 2 }",
        ),
        stage(
            "slow",
            "finetune",
            "init = \"mlm\"\nrates = { 'embeddings|layer' = 0.0 }",
        ),
    ]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let before = tensors(&w.path("run/mlm/model"));
    let frozen: [(&str, &[&str]); 4] = [
        ("parts", &["embeddings", "layer.0."]),
        ("regex", &[".attention."]),
        ("gradual", &["embeddings", "layer.0."]),
        ("slow", &["embeddings", "layer."]),
    ];
    for (unit, frozen) in frozen {
        let after = tensors(&w.path(&format!("run/{unit}/model")));
        let mut moved = 0;
        for (name, bits) in after.iter().filter(|(name, _)| before.contains_key(*name)) {
            match frozen.iter().any(|part| name.contains(part)) {
                true => assert!(before[name] == *bits, "{unit}: {name} moved"),
                // The query's and key's biases hardly matter to the softmax: leave biases out.
                false if name.ends_with("dense.weight") => {
                    assert!(before[name] != *bits, "{unit}: {name} did not move");
                    moved += 1;
                }
                false => {}
            }
        }
        assert_eq!(moved > 0, unit != "slow", "{unit}");
    }
}

#[test]
fn gpt2_learns_and_writes_on() {
    let model = head("bpe", GPT2);
    let lora = "init = \"clm\"\nobjective = \"clm\"\nlora = { rank = 2, rows = \"qv\" }";
    let w = Workplace::with(
        &model,
        &[
            stage(
                "clm",
                "pretrain",
                "objective = \"clm\"\npacking = true\naccumulate = 2",
            ),
            stage("lora", "pretrain", lora),
            stage("classify", "finetune", "init = \"clm\"\nlayer_decay = 0.9"),
        ],
    );
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let text = |options: &[&str]| {
        let mut all = vec!["generate", "run/clm", "a film", "--max-tokens", "6"];
        all.extend(options);
        w.good(&all)
    };
    let greedy = text(&["--greedy"]);
    assert!(
        greedy.starts_with("a film") && greedy.ends_with('\n'),
        "{greedy}"
    );
    assert_eq!(greedy, text(&["--top-k", "1"]));
    assert_eq!(text(&["--seed", "5"]), text(&["--seed", "5"]));
    let one = json(&text(&["--greedy", "--json"]));
    assert_eq!(format!("a film{}\n", one["text"].as_str().unwrap()), greedy);
    // As many tokens as there are positions, and no more.
    w.good(&[
        "generate",
        "run/clm",
        "a film",
        "--max-tokens",
        "1000",
        "--top-p",
        "0.9",
    ]);
    // q and v of c_attn as one adapter of the summed rank, of which PEFT can make something.
    let config = json(&String::from_utf8(w.read("run/lora/model/adapter_config.json")).unwrap());
    assert_eq!(
        (&config["r"], &config["lora_alpha"]),
        (&4.into(), &16.into())
    );
    assert_eq!(config["fan_in_fan_out"], true);
    let results: Value = json(&String::from_utf8(w.read("run/results.json")).unwrap());
    // Adapter and base made one give the perplexity that the two had in training.
    assert_eq!(results["units"][1]["trainable"], 2 * 2 * 2 * (16 + 16));
    w.good(&["generate", "run/lora/model", "a film", "--greedy"]);
    w.good(&["predict", "run/classify", "a film"]);
}

#[test]
fn next_sentences_several_labels_numbers_and_words() {
    let nsp = stage(
        "nsp",
        "pretrain",
        "objective = \"mlm_nsp\"\ncheckpointing = true",
    );
    let w = bert(&[nsp]);
    w.good(&["train", "run.toml", "--quiet", "--out", "nsp"]);
    let results = json(&String::from_utf8(w.read("nsp/results.json")).unwrap());
    let scores = &results["units"][0]["validation"];
    assert!(
        (0.0..=1.0).contains(&scores["next_sentence"].as_f64().unwrap()),
        "{scores}"
    );

    let rows = [
        "good film,\"fun, kind\",1.5",
        "bad film,sad,-1",
        "odd film,,0",
        "good one,kind,2",
    ];
    w.write(
        "labels.csv",
        format!("text,tags,stars\n{}\n", rows.repeat(6).join("\n")),
    );
    let finetune = |name: &str, column: &str, lines: &str| {
        let head = head("wordpiece", BERT).replace("vocabulary = 400", "vocabulary = 60");
        let from = head.find("path = ").unwrap();
        let to = head.find("validation = ").unwrap();
        let data = format!("path = 'labels.csv'\nlabel_column = \"{column}\"\n");
        let head = format!("{}{data}{}", &head[..from], &head[to..]);
        w.write(name, head + &stage("finetune", "finetune", lines));
        w.good(&["train", name, "--quiet", "--out", &format!("run-{name}")]);
        let results = w.read(&format!("run-{name}/results.json"));
        json(&String::from_utf8(results).unwrap())["units"][0]["test"].clone()
    };
    let several = finetune("several.toml", "tags", "problem = \"multi_label\"");
    assert!(
        (0.0..=1.0).contains(&several["micro_f1"].as_f64().unwrap()),
        "{several}"
    );
    let predicted = json(&w.good(&["predict", "run-several.toml", "good film", "--json"]));
    let names: Vec<&str> = predicted["probabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p[0].as_str().unwrap())
        .collect();
    assert_eq!(names, ["fun", "kind", "sad"]);
    let number = finetune("number.toml", "stars", "problem = \"regression\"");
    assert!(number["loss"].as_f64().unwrap() > 0.0, "{number}");
    let predicted = json(&w.good(&["predict", "run-number.toml", "good film", "--json"]));
    assert!(
        predicted["label"].as_str().unwrap().parse::<f64>().is_ok(),
        "{predicted}"
    );

    let text = "Melos B-PER\nran O\n\nDionys B-PER\nin O\nSyrakus B-LOC\n\n";
    w.write("words.conll", text.repeat(8));
    let head = head("wordpiece", BERT).replace("vocabulary = 400", "vocabulary = 60");
    let (from, to) = (
        head.find("path = ").unwrap(),
        head.find("validation = ").unwrap(),
    );
    let head = format!("{}path = 'words.conll'\n{}", &head[..from], &head[to..]);
    let lines = "objective = \"token_classify\"\nbudget = { steps = 40 }";
    w.write("words.toml", head + &stage("words", "finetune", lines));
    w.good(&["train", "words.toml", "--quiet", "--out", "words"]);
    let results = json(&String::from_utf8(w.read("words/results.json")).unwrap());
    // Six words, each always with the same label.
    assert_eq!(results["units"][0]["test"]["entity_f1"], 1.0, "{results}");
    let again = json(&w.good(&["eval", "words", "--json", "--data", "words.conll"]));
    assert_eq!(again["entity_f1"], 1.0, "{again}");
    let tagged = json(&w.good(&["predict", "words", "Dionys in Syrakus", "--json"]));
    let words: Vec<(&str, &str)> = tagged["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| (w["word"].as_str().unwrap(), w["label"].as_str().unwrap()))
        .collect();
    let expected = [("Dionys", "B-PER"), ("in", "O"), ("Syrakus", "B-LOC")];
    assert_eq!(words, expected);
    // A text that is too long is read as far as it goes, and so are those after it.
    w.write(
        "texts.txt",
        format!("{}\nDionys in Syrakus\n", "Dionys in ".repeat(20)),
    );
    let mut command = w.command(&["predict", "words", "--json"]);
    let out = command
        .stdin(std::fs::File::open(w.path("texts.txt")).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(
        said.contains("42 tokens, and the model has 32 positions"),
        "{said}"
    );
    let texts: Vec<Value> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(json)
        .collect();
    let fitting = "Dionys in ".repeat(15);
    let fitting = json(&w.good(&["predict", "words", &fitting, "--json"]));
    assert_eq!(fitting["words"].as_array().unwrap().len(), 30);
    assert_eq!(texts[0]["words"], fitting["words"]);
    assert_eq!(texts[1]["words"], tagged["words"]);
}

#[test]
fn bert_resumes_with_its_bits() {
    let masking = "masking = { rate = { from = 0.3, to = 0.1 }, whole_word = true }";
    let w = bert(&[
        mlm(&format!(
            "budget = {{ steps = 250 }}\naccumulate = 2\n{masking}"
        )),
        stage(
            "finetune",
            "finetune",
            "init = \"mlm\"\nunfreeze_every = { steps = 1 }",
        ),
    ]);
    resumes_in(&w, &["mlm", "finetune"], "-TERM");
}

#[test]
fn gpt2_resumes_with_its_bits() {
    let lines = "objective = \"clm\"\nbudget = { steps = 300 }\npacking = true";
    let w = Workplace::with(&head("bpe", GPT2), &[stage("clm", "pretrain", lines)]);
    resumes_in(&w, &["clm"], "-INT");
}
