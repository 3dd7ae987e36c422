//! What is held out.

use super::*;
use crate::text::Example;
use crate::train::config::{Overrides, preset};
use crate::train::run::units;

/// 50 texts of a novel and 30 of others, none with a label.
fn novel(set: &[&str]) -> (RunConfig, Data) {
    let overrides = Overrides {
        set: set.iter().map(|s| s.to_string()).collect(),
        ..Overrides::default()
    };
    let preset = preset("hashire-merosu").unwrap();
    let mut config = preset.config(&overrides).unwrap();
    config.settle();
    let example = |n: usize| Example {
        text: format!("メロスは{n}。"),
        pair: None,
        label: None,
        split: (n >= 50).then_some(Split::Unsup),
        ..Example::default()
    };
    let options = options(&config);
    let texts = (0..80).map(|n| example(n).text);
    let tokenizer = Tokenizer::train_on(texts, &options).unwrap();
    let documents = Documents::from_examples((0..80).map(example), &tokenizer).unwrap();
    let data = Data {
        tokenizer: tokenizer.into(),
        documents: Arc::new(documents),
        validation: config.data.validation,
        test_share: config.data.test_share,
        seed: config.seed,
        tagged: None,
        pictures: None,
        chats: None,
        template: None,
        amounts: None,
        all: false,
        learns: false,
        given: false,
    };
    (config, data)
}

#[test]
fn a_novel_without_labels_is_divided_the_same_way_for_every_stage() {
    let (config, data) = novel(&["tokenizer.kind=\"char\""]);
    let mut parts: Vec<(String, Parts)> = units(&config)
        .iter()
        .map(|unit| {
            let stage = &config.stages[unit.stage];
            (stage.name.clone(), data.text(stage, unit).unwrap())
        })
        .collect();
    let (name, others) = parts.remove(0);
    assert_eq!(name, "pretrain");
    assert!(others.test.is_empty());
    let mut all = [others.train, others.validation].concat();
    all.sort_unstable();
    assert_eq!(all, (50..80).collect::<Vec<u32>>());
    let test = parts[0].1.test.clone();
    for (name, own) in parts {
        let sizes = [own.train.len(), own.validation.len(), own.test.len()];
        assert_eq!(sizes, [30, 10, 10], "{name}");
        assert_eq!(own.test, test, "{name}");
        let mut all = [own.train, own.validation, own.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<u32>>(), "{name}");
    }
}

#[test]
fn text_for_every_purpose_leaves_out_what_is_tested_on() {
    let (config, data) = novel(&["tokenizer.kind=\"char\"", "stage.scratch.text=\"all\""]);
    let unit = units(&config).pop().unwrap();
    let parts = data.text(&config.stages[unit.stage], &unit).unwrap();
    assert_eq!(parts.test.len(), 10);
    assert!(parts.test.iter().all(|&doc| doc < 50));
    let mut all = [parts.train, parts.validation, parts.test].concat();
    all.sort_unstable();
    assert_eq!(all, (0..80).collect::<Vec<u32>>());
}
