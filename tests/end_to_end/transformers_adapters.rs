//! LoRA adapters of transformers from outside: heads of their own, merging, resuming.

use serde_json::Value;

use super::resume::resumes_with;
use super::support::{data, stage};
use super::transformers::{BERT, bert, head, json, mlm};

#[test]
fn an_adapter_brings_a_masked_lm_head_of_its_own() {
    let lora = "init = \"base\"\nobjective = \"mlm\"\ntext = \"train\"\nlora = { rank = 2 }";
    let w = bert(&[
        stage("base", "finetune", ""),
        stage("adapter", "pretrain", lora),
        stage(
            "again",
            "evaluate",
            "init = \"adapter\"\nobjective = \"mlm\"\ntext = \"train\"\nmax_len = 16\nbatch = 4",
        ),
    ]);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let config = json(&String::from_utf8(w.read("run/adapter/model/adapter_config.json")).unwrap());
    assert_eq!(config["modules_to_save"], serde_json::json!(["cls"]));
    assert_eq!(
        config["auto_mapping"]["base_model_class"],
        "BertForMaskedLM"
    );
    let results: Value = json(&String::from_utf8(w.read("run/results.json")).unwrap());
    // What was scored at the end of training is what comes out of the files.
    let loss = |unit: usize| {
        results["units"][unit]["validation"]["loss"]
            .as_f64()
            .unwrap()
    };
    assert!((loss(2) - loss(1)).abs() < 1e-5 * loss(1), "{results}");
    let test = data("reviews_test.csv");
    let test = test.to_str().unwrap();
    let eval = |model: &str| json(&w.good(&["eval", model, "--json", "--data", test]));
    w.good(&["merge", "run/base/model", "run/adapter/model", "merged"]);
    assert_eq!(eval("merged"), eval("run/adapter"));
    // Its card has the adapter's numbers, and is that of a whole model.
    let card = |folder: &str| String::from_utf8(w.read(&format!("{folder}/README.md"))).unwrap();
    let (own, merged) = (card("run/adapter/model"), card("merged"));
    let numbers = |card: &str| {
        card.lines()
            .find(|l| l.starts_with("model-index: "))
            .map(String::from)
    };
    assert!(
        numbers(&own).is_some() && numbers(&own) == numbers(&merged),
        "{merged}"
    );
    assert!(
        own.contains("library_name: \"peft\"") && !merged.contains("peft"),
        "{merged}"
    );
    assert!(
        merged.contains("is merged into the weights of its base"),
        "{merged}"
    );
    // A stage's folder stands for the model in it.
    w.good(&["merge", "run/base", "run/adapter", "again"]);
    w.good(&["convert", "run/base", "converted"]);
    let weights = |folder: &str| w.read(&format!("{folder}/model.safetensors"));
    assert_eq!(weights("again"), weights("merged"));
    assert_eq!(weights("converted"), weights("run/base/model"));
    let inspect = |folder: &str| w.good(&["inspect", folder]);
    assert_eq!(inspect("run/base"), inspect("run/base/model"));
    // The copy of the word embedding is the base's: with another base it is refused.
    w.good(&[
        "train", "run.toml", "--quiet", "--out", "other", "--seed", "2",
    ]);
    let out = w.run(&["merge", "other/base/model", "run/adapter/model", "wrong"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(5), "{said}");
    assert!(
        said.contains("word_embeddings.weight': has a copy in the adapter that differs"),
        "{said}"
    );
}

#[test]
fn an_adapter_in_training_resumes_with_its_bits() {
    let lora = "init = \"mlm\"\nlora = { rank = 2, dropout = 0.1 }\nbudget = { steps = 300 }";
    let w = bert(&[mlm(""), stage("lora", "finetune", lora)]);
    w.good(&["train", "run.toml", "--quiet", "--out", "before"]);
    let base = w.path("before/mlm/model");
    let lora = lora.replace("\"mlm\"", &format!("'{}'", base.display()));
    w.write(
        "run.toml",
        head("wordpiece", BERT) + &stage("lora", "finetune", &lora),
    );
    let adapter = "lora/model/adapter_model.safetensors".to_string();
    resumes_with(&w, "lora", &[adapter], "-TERM");
}

/// PEFT's names: an adapted layer's own bias stands one module down.
#[test]
fn biases_are_trained_along_where_that_is_asked_for() {
    let lora = |more: &str| {
        format!(
            "init = \"mlm\"\nlora = {{ rank = 2, {more} }}\nbudget = {{ steps = 30 }}\nlr = 0.01"
        )
    };
    let stages = [
        mlm(""),
        stage("none", "finetune", &lora("dropout = 0.0")),
        stage(
            "own",
            "finetune",
            &lora("bias = \"lora_only\", init = \"gaussian\""),
        ),
        stage("all", "finetune", &lora("bias = \"all\"")),
    ];
    let w = bert(&stages);
    w.good(&["train", "run.toml", "--quiet", "--out", "run"]);
    let test = data("reviews_test.csv");
    let test = test.to_str().unwrap();
    let eval = |model: &str| json(&w.good(&["eval", model, "--json", "--data", test]));
    let mut counts = Vec::new();
    for (name, bias, init) in [
        ("none", "none", serde_json::json!(true)),
        ("own", "lora_only", serde_json::json!("gaussian")),
        ("all", "all", serde_json::json!(true)),
    ] {
        let file = w.read(&format!("run/{name}/model/adapter_model.safetensors"));
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let layer = "base_model.model.bert.encoder.layer.0.";
        let has = |part: &str| {
            tensors
                .names()
                .iter()
                .any(|n| **n == *format!("{layer}{part}"))
        };
        assert!(has("attention.self.query.lora_A.weight"), "{name}");
        let adapted = has("attention.self.query.base_layer.bias");
        assert_eq!(adapted, name != "none", "{name}");
        assert_eq!(has("attention.self.key.bias"), name == "all", "{name}");
        counts.push(tensors.len());
        let config = w.read(&format!("run/{name}/model/adapter_config.json"));
        let config = json(&String::from_utf8(config).unwrap());
        assert_eq!(
            (&config["bias"], &config["init_lora_weights"]),
            (&bias.into(), &init)
        );
        let merged = format!("merged-{name}");
        let own = format!("run/{name}");
        w.good(&["merge", "run/mlm", &own, &merged]);
        assert_eq!(eval(&merged), eval(&own), "{name}");
        let ask = |command: &[&str]| json(&w.good(command));
        let text = "rarely is a film this good";
        let beside = ask(&["predict", "run/mlm", "--lora", &own, "--json", text]);
        assert_eq!(
            beside["label"],
            ask(&["predict", &own, "--json", text])["label"]
        );
        let beside = ask(&["eval", "run/mlm", "--lora", &own, "--json", "--data", test]);
        let loss = |scores: &Value| scores["loss"].as_f64().unwrap();
        let merged = loss(&eval(&own));
        assert!((loss(&beside) - merged).abs() < 1e-5 * merged, "{name}");
    }
    assert!(counts[0] < counts[1] && counts[1] < counts[2], "{counts:?}");
    let bad = w.run(&[
        "train",
        "run.toml",
        "--set",
        "stage.own.lora.init=\"pissa\"",
        "--out",
        "bad",
    ]);
    let said = String::from_utf8_lossy(&bad.stderr);
    assert_eq!(bad.status.code(), Some(2), "{said}");
    assert!(
        said.contains("stage.own.lora") && said.contains("gaussian"),
        "{said}"
    );
}
