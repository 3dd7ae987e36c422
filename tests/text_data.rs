//! The demo corpus, and the real data sets where they are at hand: in the folder that
//! `MELOS_DATA` names, else in `../shared/data`.
#![cfg(feature = "train")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use melos::text::corpus::{Example, Source, Split, read};
use melos::text::demo::{DemoOptions, examples};
use melos::text::documents::{Documents, tokenise};
use melos::text::tokenizer::{Tokenizer, TokenizerOptions, UNK};

fn part(examples: &[Example], split: Split) -> Vec<&Example> {
    examples.iter().filter(|e| e.split == Some(split)).collect()
}

#[test]
fn demo_has_its_sizes_and_no_text_twice() {
    let corpus = examples(&DemoOptions::default());
    let sizes = [Split::Unsup, Split::Train, Split::Validation, Split::Test]
        .map(|s| part(&corpus, s).len());
    assert_eq!(sizes, [8_000, 300, 100, 2_000]);
    let texts: HashSet<&str> = corpus.iter().map(|e| e.text.as_str()).collect();
    assert_eq!(texts.len(), corpus.len());
    for example in &corpus {
        let words = example
            .text
            .split(' ')
            .filter(|w| w.starts_with(char::is_alphabetic))
            .count();
        assert!((12..=40).contains(&words), "{}", example.text);
        assert_eq!(example.label.is_none(), example.split == Some(Split::Unsup));
    }
    let positive = |split| {
        part(&corpus, split)
            .iter()
            .filter(|e| e.label.as_deref() == Some("pos"))
            .count()
    };
    assert!(positive(Split::Train).abs_diff(150) < 15 && positive(Split::Test).abs_diff(1000) < 50);
    assert_eq!(corpus, examples(&DemoOptions::default()));
    let other = examples(&DemoOptions {
        seed: 2,
        ..DemoOptions::default()
    });
    let again = other
        .iter()
        .filter(|e| texts.contains(e.text.as_str()))
        .count();
    assert!(again < 20, "another seed repeats {again} texts");
}

#[test]
fn demo_has_a_long_tail() {
    let corpus = examples(&DemoOptions::default());
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for example in part(&corpus, Split::Unsup) {
        example
            .text
            .split(' ')
            .for_each(|word| *counts.entry(word).or_default() += 1);
    }
    let rare = counts.values().filter(|&&count| count <= 5).count();
    assert!(
        counts.len() > 3_500 && rare > 1_500,
        "{} types, {rare} rare",
        counts.len()
    );
    let trained: HashSet<&str> = part(&corpus, Split::Train)
        .iter()
        .flat_map(|e| e.text.split(' '))
        .collect();
    let tested: HashSet<&str> = part(&corpus, Split::Test)
        .iter()
        .flat_map(|e| e.text.split(' '))
        .collect();
    let unseen: Vec<_> = tested.difference(&trained).collect();
    let helped = unseen
        .iter()
        .filter(|word| counts.contains_key(**word))
        .count();
    assert!(
        unseen.len() * 2 > tested.len(),
        "{} of {} words are new",
        unseen.len(),
        tested.len()
    );
    assert!(
        helped * 10 > unseen.len() * 8,
        "{helped} of {} new words are in the unlabelled text",
        unseen.len()
    );
}

/// Error of a naive Bayes classifier over the sets of words, add-one smoothing.
fn naive_bayes_error(train: &[&Example], test: &[&Example]) -> f64 {
    let mut counts: HashMap<&str, [f64; 2]> = HashMap::new();
    let class = |example: &Example| usize::from(example.label.as_deref() == Some("pos"));
    for example in train {
        for word in example.text.split(' ').collect::<HashSet<_>>() {
            counts.entry(word).or_default()[class(example)] += 1.0;
        }
    }
    let vocabulary = counts.len() as f64;
    let total = [0, 1].map(|c| counts.values().map(|n| n[c]).sum::<f64>() + vocabulary);
    let wrong = test.iter().filter(|example| {
        let known: HashSet<&str> = example.text.split(' ').collect();
        let score: f64 = known
            .iter()
            .filter_map(|word| counts.get(word))
            .map(|n| ((n[1] + 1.0) / total[1]).ln() - ((n[0] + 1.0) / total[0]).ln())
            .sum();
        usize::from(score > 0.0) != class(example)
    });
    wrong.count() as f64 / test.len() as f64
}

/// Hard for a bag of words with few labels, and still not easy with many: order matters.
#[test]
fn demo_is_not_trivially_separable() {
    for seed in 1..4 {
        let corpus = examples(&DemoOptions {
            seed,
            train: 3_000,
            unlabelled: 0,
            ..DemoOptions::default()
        });
        let (train, test) = (part(&corpus, Split::Train), part(&corpus, Split::Test));
        let (few, many) = (
            naive_bayes_error(&train[..300], &test),
            naive_bayes_error(&train, &test),
        );
        eprintln!(
            "seed {seed}: naive Bayes errs on {few:.3} with 300 labels, {many:.3} with 3,000"
        );
        assert!((0.20..0.32).contains(&few), "{few}");
        assert!((0.10..0.22).contains(&many), "{many}");
    }
}

/// The folder with the data sets, or a loud note that the test did nothing.
fn data(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("MELOS_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
    };
    let path = folder.join(name);
    if !path.exists() {
        eprintln!(
            "SKIPPED: no '{}'; set MELOS_DATA to the folder that holds {name}",
            path.display()
        );
        return None;
    }
    Some(path)
}

type Counts = BTreeMap<(Option<String>, String), usize>;

fn count(source: &Source) -> Counts {
    let mut counts = Counts::new();
    read(source, &mut |example| {
        let split = example.split.map(|split| format!("{split:?}"));
        *counts
            .entry((split, example.label.unwrap_or_default()))
            .or_default() += 1;
        Ok(())
    })
    .unwrap();
    counts
}

fn counts<const N: usize>(expected: [(&str, &str, usize); N]) -> Counts {
    let split = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    expected
        .map(|(part, label, n)| ((split(part), label.to_owned()), n))
        .into()
}

#[test]
fn imdb_counts() {
    let Some(path) = data("aclImdb_text.tar.gz") else {
        return;
    };
    let found = count(&Source::new(&path));
    let expected = [
        ("Train", "neg", 12_500),
        ("Train", "pos", 12_500),
        ("Test", "neg", 12_500),
        ("Test", "pos", 12_500),
        ("Unsup", "", 50_000),
    ];
    assert_eq!(found, counts(expected));
    assert_eq!(
        count(&Source::unlabelled(&path)),
        counts([("Unsup", "", 75_000)])
    );
}

#[test]
fn rotten_tomatoes_counts_and_vocabulary() {
    let Some(path) = data("rt-polaritydata") else {
        return;
    };
    let source = Source::new(&path);
    assert_eq!(
        count(&source),
        counts([("", "neg", 5_331), ("", "pos", 5_331)])
    );
    let options = TokenizerOptions {
        vocab_size: 10_000,
        ..TokenizerOptions::default()
    };
    let tokenizer = Tokenizer::train(std::slice::from_ref(&source), &options).unwrap();
    let documents: Documents = tokenise(&[source], &tokenizer, None).unwrap();
    let unknown: usize = (0..documents.len() as u32)
        .map(|doc| documents.ids(doc).iter().filter(|&&id| id == UNK).count())
        .sum();
    // Two words of five occur once only, but they are few among all.
    let share = unknown as f64 / documents.tokens() as f64;
    assert!(
        tokenizer.vocab_size() > 8_000 && share < 0.06,
        "{} {share}",
        tokenizer.vocab_size()
    );
}

/// The fast path of the word tokeniser gives what the pattern in tokenizer.json gives.
#[test]
fn fast_words_equal_the_pattern_on_real_text() {
    let Some(path) = data("rt-polaritydata") else {
        return;
    };
    let tokenizer = Tokenizer::train(&[Source::new(&path)], &TokenizerOptions::default()).unwrap();
    let mut compared = 0;
    let mut compare = |example: Example| {
        compared += 1;
        // One in twenty of the large sets is enough, and quick.
        if compared % 20 == 0 {
            let expected = tokenizer.encode_by_pattern(&example.text)?;
            assert_eq!(
                tokenizer.encode(&example.text)?,
                expected,
                "{}",
                example.text
            );
        }
        Ok(())
    };
    for name in [
        "rt-polaritydata",
        "amazon_reviews.tsv.gz",
        "aclImdb_text.tar.gz",
    ] {
        if let Some(path) = data(name) {
            read(&Source::unlabelled(path), &mut compare).unwrap();
        }
    }
}

#[test]
fn other_corpora_are_read_as_unlabelled_text() {
    for (name, expected) in [
        ("amazon_reviews.tsv.gz", 68_254),
        ("wikitext-2/wiki.train.tokens", 600),
    ] {
        let Some(path) = data(name) else { continue };
        let found = count(&Source::unlabelled(&path));
        assert_eq!(found, counts([("Unsup", "", expected)]), "{name}");
    }
}
