//! Tokenised texts, their labels, and their copy on disk.

use std::fs;
use std::path::Path;

use melos::Error;
use melos::text::corpus::{Example, Source, Split};
use melos::text::documents::{Documents, tokenise};
use melos::text::tokenizer::{Tokenizer, TokenizerKind, TokenizerOptions, UNK};

use crate::{TEXTS, options, words};

fn corpus(folder: &Path) -> Source {
    let path = folder.join("a.csv");
    fs::write(
        &path,
        "text,label\nthe film,pos\nis bad,neg\n\"\",pos\nthe unseen film,\n",
    )
    .unwrap();
    Source::new(path)
}

fn contents(documents: &Documents) -> Vec<(Vec<u32>, Option<u32>, Option<Split>)> {
    (0..documents.len() as u32)
        .map(|d| {
            (
                documents.ids(d).to_vec(),
                documents.label(d),
                documents.split(d),
            )
        })
        .collect()
}

#[test]
fn cached_copy_equals_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let (source, tokenizer) = (corpus(folder.path()), words());
    let cache = folder.path().join("cache");
    let sources = [
        source.clone(),
        Source {
            split: Some(Split::Test),
            ..source.clone()
        },
    ];
    let plain = tokenise(&sources, &tokenizer, None).unwrap();
    assert_eq!(plain.len(), 8);
    assert_eq!(plain.label_names(), ["neg", "pos"]);
    assert_eq!(
        (plain.label(0), plain.label(1), plain.label(3)),
        (Some(1), Some(0), None)
    );
    assert_eq!(plain.ids(3), [4, UNK, 5]);
    assert_eq!(plain.ids(99), [] as [u32; 0]);
    assert_eq!(plain.labelled_in(Split::Test), [4, 5, 6]);
    assert_eq!(plain.for_pretraining(), [0, 1, 2, 3]);

    let made = tokenise(&sources, &tokenizer, Some(&cache)).unwrap();
    let found = tokenise(&sources, &tokenizer, Some(&cache)).unwrap();
    assert!(!made.from_cache() && found.from_cache());
    assert_eq!(contents(&plain), contents(&made));
    assert_eq!(contents(&plain), contents(&found));
    assert_eq!(found.label_names(), plain.label_names());
    assert_eq!(found.tokens(), plain.tokens());

    // Another tokeniser, other options, other content: another copy.
    let other = Tokenizer::train_on(TEXTS, &options(TokenizerKind::Word, 7, 1)).unwrap();
    assert!(
        !tokenise(&sources, &other, Some(&cache))
            .unwrap()
            .from_cache()
    );
    assert!(
        !tokenise(&sources[..1], &tokenizer, Some(&cache))
            .unwrap()
            .from_cache()
    );
    fs::write(&source.path, "text,label\nthe film,pos\n").unwrap();
    assert!(
        !tokenise(&sources, &tokenizer, Some(&cache))
            .unwrap()
            .from_cache()
    );
    // Nothing half-written stays.
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 4);
}

#[test]
fn a_damaged_copy_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (source, tokenizer) = (corpus(folder.path()), words());
    let cache = folder.path().join("cache");
    let build = || tokenise(std::slice::from_ref(&source), &tokenizer, Some(&cache)).unwrap();
    let expected = contents(&build());
    let path = fs::read_dir(&cache)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let good = fs::read(&path).unwrap();
    let mut damaged: Vec<Vec<u8>> =
        vec![vec![], good[..40].to_vec(), good[..good.len() - 1].to_vec()];
    // Any byte that changes, wherever it stands.
    for place in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[place] ^= 0x40;
        damaged.push(bytes);
    }
    damaged.push([good.as_slice(), &[0]].concat());
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        let documents = build();
        assert!(!documents.from_cache());
        assert_eq!(contents(&documents), expected);
        assert!(fs::read(&path).unwrap() == good);
    }
    assert!(build().from_cache());
}

#[test]
fn a_failed_reading_leaves_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(&path, b"good\n\xff\n").unwrap();
    let cache = folder.path().join("cache");
    let result = tokenise(&[Source::unlabelled(&path)], &words(), Some(&cache));
    assert!(matches!(result, Err(Error::NotUtf8 { .. })));
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    use std::io::Write;
    let mut full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let error = Error::write("/dev/full", full.write_all(b"x").unwrap_err());
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("free some space"));
}

#[test]
fn tokenising_many_keeps_the_order() {
    let texts: Vec<String> = (0..20_000).map(|i| format!("w{}", i % 977)).collect();
    let tokenizer = Tokenizer::train_on(texts.clone(), &TokenizerOptions::default()).unwrap();
    let example = |text: &String| Example {
        text: text.clone(),
        pair: None,
        label: None,
        ..Example::default()
    };
    let documents = Documents::from_examples(texts.iter().map(example), &tokenizer).unwrap();
    assert_eq!(documents.len(), texts.len());
    for (doc, text) in (0..).zip(&texts) {
        assert_eq!(documents.ids(doc), tokenizer.encode(text).unwrap());
    }
}

#[test]
fn labels_are_checked() {
    let tokenizer = words();
    let example = |label: Option<&str>| Example {
        text: "the film".into(),
        pair: None,
        label: label.map(str::to_owned),
        ..Example::default()
    };
    let labels = [Some("b"), Some("a"), Some("c"), None, Some("a")];
    let documents = Documents::from_examples(labels.map(example), &tokenizer).unwrap();
    assert_eq!(documents.label_names(), ["a", "b", "c"]);
    documents.check_labels(&[0, 1], &[4, 3]).unwrap();
    let error = documents.check_labels(&[0, 1], &[2]).unwrap_err();
    assert!(matches!(error, Error::UnseenLabel { .. }), "{error:?}");
    assert!(
        error.to_string().contains("'c'") && error.to_string().contains("a, b"),
        "{error}"
    );
    let error = documents.check_labels(&[1, 4, 3], &[1]).unwrap_err();
    assert!(matches!(error, Error::NoLabels { .. }), "{error:?}");
}
