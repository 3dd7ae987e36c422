//! How batches frame texts and pairs, and where words begin, as each tokeniser has it: against
//! fixtures made by tools/make_tokenizer_fixtures.py.
#![cfg(feature = "train")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use melos::text::Stream;
use melos::text::tokenizer::Tokenizer;
use melos::text::{Documents, Example, Keep, LabelledBatches, LabelledOptions};
use serde::Deserialize;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokenizers")
        .join(name)
}

#[derive(Deserialize)]
struct Case {
    folder: String,
    text: String,
    pair: Option<String>,
    ids: Vec<u32>,
    types: Option<Vec<u32>>,
}

/// The cases that transformers 5.23 was asked.
fn cases() -> Vec<Case> {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

#[test]
fn batches_frame_texts_and_pairs_as_transformers_does() {
    let mut pairs = 0;
    for case in cases() {
        // Byte pairs that write on are not framed; Japanese needs a dictionary.
        let framed = [
            "wordpiece",
            "cased",
            "gaps",
            "roberta",
            "roberta-silent",
            "xlm-roberta",
        ];
        if case.text.is_empty() || !framed.contains(&&*case.folder) {
            continue;
        }
        let tokenizer = Tokenizer::open(fixture(&case.folder)).unwrap();
        let example = Example {
            text: case.text.clone(),
            pair: case.pair.clone(),
            label: None,
            ..Example::default()
        };
        let documents = Arc::new(Documents::from_examples([example], &tokenizer).unwrap());
        let length = case.ids.len();
        let options = LabelledOptions {
            batch: 1,
            max_len: length.max(6),
            keep: Keep::Head,
            buckets: false,
            shuffle: false,
        };
        let vocabulary = tokenizer.vocabulary();
        let batches = LabelledBatches::new(documents, &[0], vocabulary, options, 1);
        let inputs = batches.unwrap().next_batch().inputs;
        let place = format!("{}: {:?}", case.folder, case.text);
        assert_eq!(inputs.ids[..length], case.ids, "{place}");
        assert_eq!(inputs.lens, [length as u32], "{place}");
        // RoBERTa's classes return no types: its models have type 0 alone.
        let types = case.types.unwrap_or(vec![0; length]);
        assert_eq!(inputs.token_types[..length], types, "{place}");
        pairs += usize::from(case.pair.is_some());
    }
    assert_eq!(pairs, 6);
}

#[test]
fn rows_too_short_for_a_doubled_separator_are_refused() {
    let tokenizer = Tokenizer::open(fixture("roberta")).unwrap();
    let example = Example {
        text: "A film".into(),
        pair: Some("A plot".into()),
        label: None,
        ..Example::default()
    };
    let documents = Arc::new(Documents::from_examples([example], &tokenizer).unwrap());
    let batches = |max_len| {
        let options = LabelledOptions {
            batch: 1,
            max_len,
            keep: Keep::Head,
            buckets: false,
            shuffle: false,
        };
        LabelledBatches::new(documents.clone(), &[0], tokenizer.vocabulary(), options, 1)
    };
    let error = batches(5).err().unwrap().to_string();
    assert!(
        error.contains("max_len = 5") && error.contains("</s></s>"),
        "{error}"
    );
    let row = batches(6).unwrap().next_batch().inputs.ids;
    let [a, plot] = ["A", "A plot"].map(|text| tokenizer.encode(text).unwrap()[0]);
    assert_eq!(row, [0, a, 2, 2, plot, 2]);
}

#[test]
fn tokens_without_the_space_before_a_word_continue_it() {
    for (name, begin, on, sign) in [
        ("roberta", "Ġthe", "ing", "."),
        ("xlm-roberta", "▁the", "ing", ","),
        ("wordpiece", "the", "##ing", ","),
    ] {
        let tokenizer = Tokenizer::open(fixture(name)).unwrap();
        let continues = |token| {
            let id = tokenizer
                .id(token)
                .unwrap_or_else(|| panic!("{name}: {token}"));
            tokenizer.vocabulary().continues(id)
        };
        assert!(continues(on), "{name}");
        assert!(!continues(begin) && !continues(sign), "{name}");
    }
    let tokenizer = Tokenizer::open(fixture("roberta")).unwrap();
    assert!(
        tokenizer
            .vocabulary()
            .ends_sentence(tokenizer.id(".").unwrap())
    );
    // The space belongs to the first piece, also where words come one by one.
    let tokenizer = Tokenizer::open(fixture("xlm-roberta")).unwrap();
    for first in [true, false] {
        let word = tokenizer.encode_word("moving", first).unwrap();
        assert_eq!(tokenizer.token(word[0]).unwrap(), "▁moving");
    }
}
