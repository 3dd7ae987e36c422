//! Japanese: morphemes, their places in the text, which characters belong together, dictionaries.
#![cfg(feature = "train")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use melos::Error;
use melos::text::Source;
use melos::text::Stream;
use melos::text::corpus::Example;
use melos::text::documents::{Documents, tokenise};
use melos::text::masked::{Layout, MaskedBatches, MaskedOptions};
use melos::text::masking::{MaskRate, Masking};
use melos::text::pairs::PairOptions;
use melos::text::tokenizer::morphemes::{Dictionary, build_dictionary};
use melos::text::tokenizer::{Encoding, Subword, Tokenizer, TokenizerOptions};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokenizers")
        .join(name)
}

/// A folder with the dictionary that the fixtures' sentences need.
fn dictionary() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("words");
    assert!(build_dictionary(&fixture("ipadic"), &path).unwrap() > 30);
    (folder, path)
}

/// The original characters of each token.
fn places(text: &str, encoding: &Encoding) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let of = |&(from, to): &(usize, usize)| characters[from..to].iter().collect();
    encoding.offsets.iter().map(of).collect()
}

#[test]
fn japanese_tokens_know_their_place_in_the_text() {
    let (_folder, words) = dictionary();
    let text = "ﾒﾛｽは　ＡＢＣと [MASK] した。";
    let tokenizer = Tokenizer::open_with(fixture("japanese"), Some(&words)).unwrap();
    let encoding = tokenizer.encoding(text, None, true).unwrap();
    assert_eq!(
        encoding.tokens,
        [
            "[CLS]",
            "メロス",
            "は",
            "ABC",
            "と",
            "[MASK]",
            "し",
            "た",
            "。",
            "[SEP]"
        ]
    );
    assert_eq!(
        places(text, &encoding),
        [
            "",
            "ﾒﾛｽ",
            "は",
            "ＡＢＣ",
            "と",
            "[MASK]",
            "し",
            "た",
            "。",
            ""
        ]
    );
    let tokenizer = Tokenizer::open_with(fixture("characters"), Some(&words)).unwrap();
    let encoding = tokenizer.encoding("激怒　した", None, false).unwrap();
    assert_eq!(places("激怒　した", &encoding), ["激", "怒", "し", "た"]);
    assert_eq!(encoding.words, [0, 0, 1, 2].map(Some));
}

#[test]
fn characters_of_a_morpheme_are_known_to_belong_together() {
    let (folder, words) = dictionary();
    let tokenizer = Tokenizer::open_with(fixture("characters"), Some(&words)).unwrap();
    let file = folder.path().join("text.txt");
    fs::write(&file, "メロスは激怒した。\n政治がわからぬ。\n").unwrap();
    let check = |documents: &Documents| {
        let flags = |doc: u32| -> Vec<bool> {
            (0..documents.ids(doc).len())
                .map(|at| documents.continues(doc, at).unwrap())
                .collect()
        };
        let [t, f] = [true, false];
        // メロス は 激怒 し た 。
        assert_eq!(flags(0), [f, t, t, f, f, t, f, f, f]);
        // 政治 が わから ぬ 。
        assert_eq!(flags(1), [f, t, f, f, t, t, f, f]);
    };
    let cache = folder.path().join("cache");
    let read = || tokenise(&[Source::unlabelled(&file)], &tokenizer, Some(&cache)).unwrap();
    check(&read());
    let again = read();
    assert!(again.from_cache());
    check(&again);
    // WordPiece needs no such flags: its ids tell.
    let wordpiece = Tokenizer::open_with(fixture("wordpiece"), None).unwrap();
    let example = Example {
        text: "unaffable film".into(),
        pair: None,
        label: None,
        ..Example::default()
    };
    let documents = Documents::from_examples([example], &wordpiece).unwrap();
    assert_eq!(documents.continues(0, 1), None);
    assert!(wordpiece.vocabulary().continues(documents.ids(0)[1]));
    assert!(!wordpiece.vocabulary().continues(documents.ids(0)[0]));
}

#[test]
fn whole_morphemes_are_masked() {
    let (folder, words) = dictionary();
    let tokenizer = Tokenizer::open_with(fixture("characters"), Some(&words)).unwrap();
    let file = folder.path().join("text.txt");
    fs::write(&file, "メロスは激怒した。\n".repeat(40)).unwrap();
    let documents = tokenise(&[Source::unlabelled(&file)], &tokenizer, None).unwrap();
    let options = MaskedOptions {
        batch: 40,
        max_len: 16,
        layout: Layout::Sentences,
        buckets: true,
        shuffle: true,
        masking: Masking {
            rate: MaskRate::constant(0.4),
            whole_word: true,
            ..Masking::default()
        },
        pairs: PairOptions::default(),
    };
    let all: Vec<u32> = (0..40).collect();
    let mut batches = MaskedBatches::new(
        Arc::new(documents),
        &all,
        tokenizer.vocabulary(),
        &options,
        1,
    )
    .unwrap();
    let batch = batches.next_at(0.0);
    let (mut long, mut short) = (0, 0);
    for b in 0..40 {
        // [CLS] メ ロ ス は 激 怒 し た 。 [SEP]
        let masked = |t: u32| batch.rows.contains(&(b * 16 + t));
        assert!(masked(1) == masked(2) && masked(2) == masked(3), "row {b}");
        assert_eq!(masked(5), masked(6), "row {b}");
        long += u32::from(masked(1));
        short += u32::from(masked(4));
    }
    assert!(long > 3 && short > 3, "{long} {short}");
}

#[test]
fn japanese_trains_and_needs_its_dictionary() {
    let (folder, words) = dictionary();
    let text = "メロスは激怒した。必ず、かの邪智暴虐の王を除かなければならぬと決意した。";
    for subword in [Subword::Wordpiece, Subword::Character] {
        let options = TokenizerOptions {
            min_frequency: 1,
            ..TokenizerOptions::japanese(150, subword, Some(words.clone()))
        };
        let tokenizer =
            Tokenizer::train_on([text, "メロスには政治がわからぬ。"], &options).unwrap();
        let target = folder.path().join(format!("{subword:?}"));
        tokenizer.save_folder(&target).unwrap();
        // The tokenizers library has no morphemes: no file may say otherwise.
        assert!(!target.join("tokenizer.json").exists());
        let opened = Tokenizer::open_with(&target, Some(&words)).unwrap();
        let one = tokenizer.encoding(text, None, true).unwrap();
        assert_eq!(one, opened.encoding(text, None, true).unwrap());
        assert!(one.ids.iter().all(|&id| Some(id) != tokenizer.id("[UNK]")));
        // A dictionary in the folder itself is found.
        fs::copy(&words, target.join("ipadic.morphemes")).unwrap();
        assert_eq!(Tokenizer::open(&target).unwrap().hash(), opened.hash());
    }
    let damaged = folder.path().join("damaged");
    let mut bytes = fs::read(&words).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let says = |error: Error, what: &str| {
        let error = error.to_string();
        assert!(error.contains(what), "{error}");
        assert!(
            error.contains("melos tokenizer build-dictionary"),
            "{error}"
        );
    };
    says(
        Dictionary::open(&damaged).unwrap_err(),
        "damaged or cut short",
    );
    fs::write(&damaged, "something else").unwrap();
    says(
        Dictionary::open(&damaged).unwrap_err(),
        "no dictionary of melos",
    );
    let empty = TempDir::new().unwrap();
    let error = build_dictionary(empty.path(), &damaged).unwrap_err();
    assert!(error.to_string().contains("holds no .csv"), "{error}");
    fs::write(empty.path().join("a.csv"), "x,0,0,1,*\n").unwrap();
    let error = build_dictionary(empty.path(), &damaged).unwrap_err();
    assert!(matches!(error, Error::FileMissing { .. }), "{error}");
    for name in ["matrix.def", "char.def", "unk.def"] {
        fs::write(empty.path().join(name), "nonsense").unwrap();
    }
    let error = build_dictionary(empty.path(), &damaged).unwrap_err();
    assert!(
        error.to_string().contains("are the sources complete"),
        "{error}"
    );
}
