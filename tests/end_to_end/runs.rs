//! Whole runs: every kind of stage, the files they leave, and using the models.

use safetensors::SafeTensors;
use serde_json::Value;

use super::support::{Workplace, data, stage};

fn shapes(bytes: &[u8]) -> Vec<(String, Vec<usize>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut all: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
            (name, view.shape().to_vec())
        })
        .collect();
    all.sort();
    all
}

fn is(shapes: &[(String, Vec<usize>)], wanted: &[(&str, &[usize])]) {
    let found: Vec<(&str, &[usize])> = shapes.iter().map(|(n, s)| (&n[..], &s[..])).collect();
    assert_eq!(found, wanted);
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn two_stages() -> Workplace {
    Workplace::new(&[
        stage("lm", "pretrain", "objective = \"lm\""),
        stage("sa", "pretrain", "objective = \"sa\""),
        stage(
            "lm-lstm",
            "finetune",
            "init = \"lm\"\nbudget = { epochs = 10 }",
        ),
        stage("sa-lstm", "finetune", "init = \"sa\""),
        stage(
            "joint",
            "finetune",
            "objective = \"joint\"\nauxiliary = \"lm\"",
        ),
        stage(
            "again",
            "evaluate",
            "objective = \"classify\"\ninit = \"lm-lstm\"",
        ),
    ])
}

#[test]
fn pretraining_finetuning_and_joint_training_leave_what_they_should() {
    let w = two_stages();
    let table = w.good(&["train", "run.toml", "--out", "out"]);
    for row in [
        "| lm ",
        "| sa ",
        "| lm-lstm ",
        "| sa-lstm ",
        "| joint ",
        "| again ",
    ] {
        assert!(table.contains(row), "{row} is not in\n{table}");
    }
    w.nothing_half_written();

    // The run's own files.
    let config = String::from_utf8(w.read("out/config.toml")).unwrap();
    assert!(
        config.contains("[[stage]]") && !config.contains("[defaults"),
        "{config}"
    );
    let metrics = String::from_utf8(w.read("out/metrics.jsonl")).unwrap();
    for (unit, steps) in [("lm", 10), ("sa", 10), ("sa-lstm", 20), ("joint", 20)] {
        let losses: Vec<Value> = metrics
            .lines()
            .map(|line| json(line.as_bytes()))
            .filter(|line| line["event"] == "loss" && line["unit"] == unit)
            .collect();
        let numbers: Vec<u64> = losses.iter().map(|l| l["step"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=steps).collect::<Vec<u64>>(), "{unit}");
        assert!(
            losses.iter().all(|l| l["loss"].as_f64().unwrap() > 0.0),
            "{unit}"
        );
    }
    for (chart, of) in [
        ("loss-pretrain", "loss (nats)"),
        ("loss-finetune", "loss (nats)"),
        ("measure-pretrain", "validation perplexity"),
        ("measure-finetune", "validation error %"),
    ] {
        let svg = String::from_utf8(w.read(&format!("out/{chart}.svg"))).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.contains("polyline") && svg.contains(of),
            "{chart}"
        );
    }
    let events = std::fs::read_dir(w.path("out/lm"))
        .unwrap()
        .filter(|e| {
            let name = e.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("events.out.tfevents.")
        })
        .count();
    assert_eq!(events, 1);

    // Results: a re-evaluated model has the score it was given after training.
    let results = json(&w.read("out/results.json"));
    let row = |name: &str| {
        let rows = results["rows"].as_array().unwrap();
        rows.iter().find(|r| r["model"] == name).unwrap().clone()
    };
    assert_eq!(row("again")["error"], row("lm-lstm")["error"]);
    assert!(row("lm")["perplexity"].as_f64().unwrap() > 1.0);

    // Models, under PyTorch's names; four gates stacked in a weight's rows.
    let vocabulary = json(&w.read("out/lm/model/config.json"))["lstm"]["vocab_size"]
        .as_u64()
        .unwrap() as usize;
    let backbone: [(&str, &[usize]); 5] = [
        ("embedding.weight", &[vocabulary, 8]),
        ("lstm.bias_hh_l0", &[64]),
        ("lstm.bias_ih_l0", &[64]),
        ("lstm.weight_hh_l0", &[64, 16]),
        ("lstm.weight_ih_l0", &[64, 8]),
    ];
    let decoder: [(&str, &[usize]); 2] = [
        ("decoder.bias", &[vocabulary]),
        ("decoder.weight", &[vocabulary, 16]),
    ];
    let classifier: [(&str, &[usize]); 2] =
        [("classifier.bias", &[2]), ("classifier.weight", &[2, 16])];
    for unit in ["lm", "sa"] {
        let model = w.read(&format!("out/{unit}/model/model.safetensors"));
        is(&shapes(&model), &[&decoder[..], &backbone[..]].concat());
    }
    let model = w.read("out/lm-lstm/model/model.safetensors");
    is(&shapes(&model), &[&classifier[..], &backbone[..]].concat());
    let tokenizer = json(&w.read("out/lm-lstm/model/tokenizer.json"));
    assert!(tokenizer["model"]["vocab"].is_object());

    // Eighty steps on 52 texts: the training texts' own words are known by then.
    let test = data("reviews_test.csv");
    let test = test.to_str().unwrap();
    let scores = json(
        w.good(&["eval", "out/lm-lstm", "--data", test, "--json"])
            .as_bytes(),
    );
    assert_eq!(scores["examples"], 20);
    assert_eq!(
        scores["error"].as_f64(),
        row("lm-lstm")["error"]["mean"].as_f64()
    );
    let said = w.good(&["eval", "out/lm-lstm", "--data", test]);
    assert!(
        said.contains("20 answers, ") && said.contains("F1"),
        "{said}"
    );
    let said = w.good(&["eval", "out/lm", "--data", test]);
    assert!(said.contains("perplexity"), "{said}");

    let said = w.good(&["predict", "out", "a wonderful film", "--json"]);
    let prediction = json(said.as_bytes());
    let sum: f64 = prediction["probabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair[1].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-5, "{said}");
    let said = w.good(&["predict", "out/lm-lstm", "a wonderful film"]);
    let label = said.split('\t').next().unwrap();
    assert!(["positive", "negative"].contains(&label), "{said}");
    let error = w.refused(&["predict", "out/lm", "a wonderful film"], 5);
    assert!(error.contains("no classifier"), "{error}");
}

#[test]
fn every_variation_of_the_classifier_at_once() {
    let w = Workplace::new(&[stage(
        "big",
        "finetune",
        "batch = 4\nbudget = { steps = 15 }",
    )]);
    let vectors = format!("model.word_vectors=\"{}\"", data("vectors.txt").display());
    let settings = [
        "model.bidirectional=true",
        "model.layers=2",
        "model.linear_gain=true",
        "model.cell_clip=0.5",
        "model.head=12",
        "stage.big.optimizer={ kind = \"rmsprop\", momentum = 0.5 }",
        &vectors,
    ];
    let mut arguments = vec!["train", "run.toml", "--out", "out", "--quiet"];
    for setting in &settings {
        arguments.extend(["--set", setting]);
    }
    w.good(&arguments);
    let model = w.read("out/big/model/model.safetensors");
    let shapes = shapes(&model);
    let shape = |name: &str| &shapes.iter().find(|(n, _)| n == name).expect(name).1[..];
    for layer in ["l0", "l0_reverse", "l1", "l1_reverse"] {
        let inputs = if layer.starts_with("l0") { 8 } else { 32 };
        assert_eq!(shape(&format!("lstm.weight_ih_{layer}")), [64, inputs]);
        assert_eq!(shape(&format!("lstm.weight_hh_{layer}")), [64, 16]);
    }
    assert_eq!(shape("head.weight"), [12, 32]);
    assert_eq!(shape("classifier.weight"), [2, 12]);
    w.good(&["predict", "out", "a dull story"]);
}

#[test]
fn a_run_tells_its_story_in_json() {
    let w = Workplace::new(&[stage("a", "finetune", "budget = { steps = 3 }")]);
    let said = w.good(&["train", "run.toml", "--out", "out", "--json"]);
    let events: Vec<Value> = said.lines().map(|line| json(line.as_bytes())).collect();
    assert_eq!(events[0]["event"], "run");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "report");
    assert_eq!(last["report"]["rows"][0]["model"], "a");
    assert_eq!(events.iter().filter(|e| e["event"] == "loss").count(), 3);
}

#[test]
fn the_seed_decides_every_bit() {
    let w = Workplace::new(&[
        stage(
            "lm",
            "pretrain",
            "objective = \"lm\"\ndropout = { word = 0.1, output = 0.2 }",
        ),
        stage(
            "sa",
            "pretrain",
            "objective = \"sa\"\ndropout = { embedding = 0.2 }",
        ),
        stage("classifier", "finetune", ""),
    ]);
    for (out, seed) in [("one", "7"), ("two", "7"), ("other", "8")] {
        w.good(&["train", "run.toml", "--quiet", "--out", out, "--seed", seed]);
    }
    for unit in ["lm", "sa", "classifier"] {
        let model = |out: &str| w.read(&format!("{out}/{unit}/model/model.safetensors"));
        assert!(model("one") == model("two"), "{unit}: two runs differ");
        assert!(
            model("one") != model("other"),
            "{unit}: the seed changes nothing"
        );
    }
}
