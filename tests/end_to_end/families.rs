//! Tiny models as transformers wrote them, one of each family of encoders: continued, fine-tuned whole
//! and by an adapter, asked.

use serde_json::{Value, json};

use super::support::Workplace;
use super::transformers::json as parsed;

/// A fixture's folder with the files of a tokeniser, where the program starts.
fn place(fixture: &str, tokenizer: &[(&str, String)]) -> Workplace {
    let w = Workplace::with("", &[]);
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hf");
    std::fs::create_dir(w.path("base")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(
            format!("{from}/{fixture}/{file}"),
            w.path(&format!("base/{file}")),
        )
        .unwrap();
    }
    for (name, text) in tokenizer {
        w.write(&format!("base/{name}"), text);
    }
    let rows = [
        "good film,yes",
        "bad film,no",
        "a good one,yes",
        "a bad one,no",
    ];
    w.write(
        "films.csv",
        format!("text,label\n{}\n", rows.repeat(8).join("\n")),
    );
    w
}

/// What a run says that it began anew and left aside, and its folder.
fn train(w: &Workplace, preset: &str, set: &[&str]) -> String {
    let mut arguments = vec![
        "train", "--preset", preset, "--init", "base", "--out", preset,
    ];
    arguments.extend(["--data", "films.csv", "--set", "stage.*.max_len=12"]);
    for change in set {
        arguments.extend(["--set", change]);
    }
    let out = w.run(&arguments);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    said
}

/// A masked LM in `base` with a mask token `mask`; the head of a classifier has the layers `anew`, and
/// PEFT's name for what of it is saved whole is `whole`.
fn every_way(w: &Workplace, mask: &str, targets: &[&str], anew: &[&str], whole: Value) {
    let blanks = w.good(&["fill-mask", "base", &format!("a {mask} film"), "--json"]);
    let blank = parsed(blanks.trim());
    assert_eq!(blank["guesses"].as_array().unwrap().len(), 5, "{blank}");
    let vector = parsed(&w.good(&["embed", "base", "a film", "--normalize"]));
    let vector: Vec<f64> = serde_json::from_value(vector["embedding"].clone()).unwrap();
    let norm: f64 = vector.iter().map(|x| x * x).sum();
    assert!(vector.len() == 16 && (norm - 1.0).abs() < 1e-5, "{norm}");

    // Four texts, each always with the same label.
    let steps = [
        "stage.*.budget={ steps = 200 }",
        "stage.*.lr=0.005",
        "stage.*.batch=8",
    ];
    let said = train(w, "finetune", &steps);
    for layer in anew {
        assert!(said.contains(&format!("{layer}.weight")), "{layer}: {said}");
    }
    train(w, "lora", &steps);
    let config = w.read("lora/lora/model/adapter_config.json");
    let config = parsed(&String::from_utf8(config).unwrap());
    assert_eq!(config["target_modules"], json!(targets));
    assert_eq!(config["modules_to_save"], whole);
    w.good(&["merge", "base", "lora/lora", "merged"]);
    for model in ["finetune/finetune", "lora/lora", "merged"] {
        let scores = parsed(&w.good(&["eval", model, "--json", "--data", "films.csv"]));
        assert_eq!(scores["accuracy"], 1.0, "{model}: {scores}");
        for (text, label) in [("good film", "yes"), ("bad film", "no")] {
            let said = parsed(&w.good(&["predict", model, text, "--json"]));
            assert_eq!(said["label"], label, "{model}: {said}");
        }
    }
}

#[test]
fn distilbert() {
    let words = [
        "[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "a", "good", "bad", "film", "one",
    ];
    let w = place("distilbert_mlm", &[("vocab.txt", words.join("\n") + "\n")]);
    let anew = ["pre_classifier", "classifier"];
    every_way(&w, "[MASK]", &["q_lin", "v_lin"], &anew, json!(anew));
}

#[test]
fn roberta() {
    let specials = ["<s>", "<pad>", "</s>", "<mask>", "<unk>"];
    let letters = ["g", "o", "d", "f", "i", "l", "m", "b", "a", "n", "e", "Ġ"];
    let merges = [
        "g o", "go o", "goo d", "b a", "ba d", "f i", "fi l", "fil m", "o n", "on e", "Ġ good",
        "Ġ bad", "Ġ film", "Ġ one",
    ];
    let merged = merges.map(|pair| pair.replace(' ', ""));
    let tokens = specials.iter().chain(&letters).map(|t| t.to_string());
    let tokens = tokens
        .chain(merged)
        .zip(0..)
        .map(|(token, id)| (token, json!(id)));
    let vocabulary: Value = tokens.collect::<serde_json::Map<_, _>>().into();
    let w = place(
        "roberta_mlm",
        &[
            ("vocab.json", vocabulary.to_string()),
            (
                "merges.txt",
                format!("#version: 0.2\n{}\n", merges.join("\n")),
            ),
        ],
    );
    every_way_of_roberta(&w);
}

fn every_way_of_roberta(w: &Workplace) {
    let anew = ["classifier.dense", "classifier.out_proj"];
    let whole = json!(["classifier"]);
    every_way(w, "<mask>", &["query", "value"], &anew, whole);
}

#[test]
fn xlm_roberta() {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/tokenizers/xlm-roberta"
    );
    let read = |name: &str| std::fs::read_to_string(format!("{fixture}/{name}")).unwrap();
    // The fixture's tokeniser with a vocabulary for the model's 37 rows.
    let mut tokenizer = parsed(&read("tokenizer.json"));
    let specials = ["<s>", "<pad>", "</s>", "<unk>"].map(|token| json!([token, 0.0]));
    let words = ["▁a", "▁good", "▁bad", "▁film", "▁one"].map(|token| json!([token, -2.0]));
    let vocabulary = [&specials[..], &words, &[json!(["<mask>", 0.0])]].concat();
    for added in tokenizer["added_tokens"].as_array_mut().unwrap() {
        let place = vocabulary
            .iter()
            .position(|entry| entry[0] == added["content"]);
        added["id"] = place.unwrap().into();
    }
    tokenizer["model"]["vocab"] = vocabulary.into();
    let files = [
        ("tokenizer.json", tokenizer.to_string()),
        ("tokenizer_config.json", read("tokenizer_config.json")),
    ];
    let w = place("xlm_roberta_mlm", &files);
    every_way_of_roberta(&w);
}
