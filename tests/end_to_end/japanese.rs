//! The preset `hashire-merosu` in miniature, in characters: morphemes need a dictionary.

use serde_json::Value;

use super::support::{Workplace, data};

const SMALL: [&str; 8] = [
    "tokenizer.kind=\"char\"",
    "tokenizer.vocabulary=600",
    "tokenizer.min_frequency=1",
    "model={ kind = \"bert\", hidden = 16, layers = 1, heads = 2, max_positions = 64 }",
    "stage.*.max_len=64",
    "stage.*.seeds=[]",
    "stage.*.budget={ steps = 3 }",
    "stage.*.lr=0.01",
];

fn train<'a>(novel: &'a str, others: &'a str, set: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--preset", "hashire-merosu", "--out", "out"];
    arguments.extend(["--data", novel, "--unlabelled", others]);
    arguments.extend(set.iter().flat_map(|&set| ["--set", set]));
    arguments
}

#[test]
fn one_pretraining_four_kinds_of_masks_and_the_same_questions_for_all() {
    let w = Workplace::new(&[]);
    let (novel, others) = (data("novel.txt"), data("novels"));
    let (novel, others) = (novel.to_str().unwrap(), others.to_str().unwrap());
    let table = w.good(&train(novel, others, &SMALL));
    assert!(table.contains("| before "), "{table}");

    let results: Value = serde_json::from_slice(&w.read("out/results.json")).unwrap();
    let units = results["units"].as_array().unwrap();
    let names: Vec<&str> = units.iter().map(|u| u["unit"].as_str().unwrap()).collect();
    let continued = [
        "fixed-static",
        "fixed-dynamic",
        "scheduled-static",
        "scheduled-dynamic",
    ];
    assert_eq!(names[..2], ["pretrain", "before"]);
    assert_eq!(names[2..6], continued);
    assert_eq!(names[6..], ["scratch"]);
    let test = |unit: usize| &units[unit]["test"];
    assert!(test(0).is_null(), "the novel is not for the pretraining");
    for (unit, name) in names.iter().enumerate().skip(1) {
        assert_eq!(test(unit)["examples"], test(1)["examples"], "{name}");
        let loss = test(unit)["loss"].as_f64().unwrap();
        // Of 600 characters at most, after a few steps: about a uniform guess.
        assert!((3.0..8.0).contains(&loss), "{name}: {loss}");
        if unit > 1 {
            assert_ne!(test(unit)["loss"], test(1)["loss"], "{name}");
        }
    }

    let guesses = w.good(&["fill-mask", "out/fixed-dynamic", "メロスは[MASK]した。"]);
    assert_eq!(guesses.lines().count(), 5, "{guesses}");
    for guess in guesses.lines() {
        assert!(guess.contains("メ ロ ス は "), "{guess}");
    }
}

#[test]
fn without_a_dictionary_it_says_how_to_build_one() {
    let w = Workplace::new(&[]);
    let (novel, others) = (data("novel.txt"), data("novels"));
    let (novel, others) = (novel.to_str().unwrap(), others.to_str().unwrap());
    let error = w.refused(&train(novel, others, &[]), 5);
    for word in [
        "no dictionary of morphemes",
        "mecab-ipadic",
        "melos tokenizer build-dictionary",
    ] {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
    assert!(!w.path("out").exists(), "a run folder was left");
}
