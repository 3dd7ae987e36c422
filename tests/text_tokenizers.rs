//! Tokenisers as transformers has them: fixtures made by tools/make_tokenizer_fixtures.py, training,
//! files there and back, errors.
#![cfg(feature = "train")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use melos::Error;
use melos::text::corpus::Example;
use melos::text::documents::{Documents, tokenise};
use melos::text::masked::{Layout, MaskedBatches, MaskedOptions};
use melos::text::masking::{MaskOptions, MaskRate};
use melos::text::pairs::PairOptions;
use melos::text::tokenizer::morphemes::{Dictionary, build_dictionary};
use melos::text::tokenizer::{
    Encoding, Family, Subword, Tokenizer, TokenizerKind, TokenizerOptions,
};
use melos::text::{Roles, Source};
use serde::Deserialize;
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

#[derive(Deserialize)]
struct Case {
    folder: String,
    text: String,
    pair: Option<String>,
    ids: Vec<u32>,
    types: Option<Vec<u32>>,
    offsets: Option<Vec<(usize, usize)>>,
    decoded: String,
}

#[test]
fn texts_are_cut_as_transformers_cuts_them() {
    let (_folder, words) = dictionary();
    let cases: Vec<Case> =
        serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 31);
    for case in cases {
        let tokenizer = Tokenizer::open_with(fixture(&case.folder), Some(&words)).unwrap();
        let found = tokenizer
            .encoding(&case.text, case.pair.as_deref(), true)
            .unwrap();
        let place = format!("{}: {:?}", case.folder, case.text);
        assert_eq!(found.ids, case.ids, "{place} {:?}", found.tokens);
        if let Some(types) = case.types {
            assert_eq!(found.token_types, types, "{place}");
        }
        if let Some(offsets) = case.offsets {
            assert_eq!(found.offsets, offsets, "{place}");
        }
        assert_eq!(
            tokenizer.decode(&case.ids).unwrap(),
            case.decoded,
            "{place}"
        );
    }
}

#[test]
fn roles_are_told_by_the_folder() {
    let (_folder, words) = dictionary();
    let roles = |name: &str| {
        let tokenizer = Tokenizer::open_with(fixture(name), Some(&words)).unwrap();
        tokenizer.vocabulary().roles()
    };
    let bert = Roles {
        pad: Some(0),
        unk: Some(1),
        cls: Some(2),
        sep: Some(3),
        mask: Some(4),
        bos: None,
        eos: None,
    };
    for name in ["wordpiece", "cased", "japanese", "characters"] {
        assert_eq!(roles(name), bert, "{name}");
    }
    let gpt2 = Roles {
        bos: Some(0),
        eos: Some(0),
        ..Roles::default()
    };
    assert_eq!(roles("bpe"), gpt2);
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
        split: None,
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
        masking: MaskOptions {
            rate: MaskRate::constant(0.4),
            whole_word: true,
            ..MaskOptions::default()
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
    let batch = batches.next_batch(0.0);
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

fn texts() -> Vec<String> {
    let base = "The hotel was clean, and the staff of the hotel wasn't unfriendly. Unclean? Never!";
    (0..20)
        .map(|i| format!("{base} Room {i}; café, naïve."))
        .collect()
}

fn options(kind: TokenizerKind, family: Option<Family>, vocab_size: usize) -> TokenizerOptions {
    TokenizerOptions {
        kind,
        family,
        vocab_size,
        ..TokenizerOptions::default()
    }
}

#[test]
fn every_kind_trains_saves_and_opens_again() {
    use TokenizerKind::*;
    for (kind, family, size, files) in [
        (Wordpiece, None, 120, &["tokenizer.json", "vocab.txt"][..]),
        (
            Bpe,
            Some(Family::Gpt2),
            300,
            &["tokenizer.json", "vocab.json", "merges.txt"],
        ),
        (
            Bpe,
            None,
            300,
            &["tokenizer.json", "vocab.json", "merges.txt"],
        ),
        (Char, None, 40, &["tokenizer.json"]),
        (Word, None, 30, &["tokenizer.json"]),
        (Word, Some(Family::Bert), 30, &["tokenizer.json"]),
    ] {
        let options = options(kind, family, size);
        let tokenizer = Tokenizer::train_on(texts(), &options).unwrap();
        let again = Tokenizer::train_on(texts(), &options).unwrap();
        assert_eq!(tokenizer.hash(), again.hash(), "{kind:?}");
        assert!(tokenizer.vocab_size() <= size, "{kind:?}");
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("made/if/need/be");
        tokenizer.save_folder(&target).unwrap();
        for file in [files, &["tokenizer_config.json", "special_tokens_map.json"]].concat() {
            assert!(target.join(file).exists(), "{kind:?} {file}");
        }
        let opened = Tokenizer::open(&target).unwrap();
        assert_eq!(opened.hash(), tokenizer.hash(), "{kind:?}");
        assert_eq!(
            opened.vocabulary().roles(),
            tokenizer.vocabulary().roles(),
            "{kind:?}"
        );
        for text in texts()
            .iter()
            .chain(&["Unseen wörds 12 <unk> [MASK]!".to_owned()])
        {
            let one = tokenizer.encoding(text, Some("A pair."), true).unwrap();
            assert_eq!(one, opened.encoding(text, Some("A pair."), true).unwrap());
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids, tokenizer.encoding(text, None, false).unwrap().ids);
        }
        // Without tokenizer.json the old files must say the same.
        if kind == Wordpiece || family == Some(Family::Gpt2) {
            fs::remove_file(target.join("tokenizer.json")).unwrap();
            let old = Tokenizer::open(&target).unwrap();
            for text in texts() {
                let one = tokenizer.encoding(&text, None, true).unwrap();
                assert_eq!(one, old.encoding(&text, None, true).unwrap(), "{kind:?}");
            }
        }
    }
}

#[test]
fn byte_pairs_lose_nothing_and_wordpiece_finds_parts() {
    let bpe = Tokenizer::train_on(
        texts(),
        &options(TokenizerKind::Bpe, Some(Family::Gpt2), 300),
    )
    .unwrap();
    let text = "  Tabs\tand 日本語 🙂\nlines ";
    assert_eq!(bpe.decode(&bpe.encode(text).unwrap()).unwrap(), text);
    let wordpiece =
        Tokenizer::train_on(texts(), &options(TokenizerKind::Wordpiece, None, 150)).unwrap();
    let encoding = wordpiece.encoding("hotels", None, false).unwrap();
    assert_eq!(encoding.tokens, ["hotel", "##s"]);
    assert_eq!(encoding.offsets, [(0, 5), (5, 6)]);
    assert_eq!(wordpiece.decode(&encoding.ids).unwrap(), "hotels");
    // A word begins with its space: the first word differs from the others.
    assert_eq!(
        bpe.encode_word("hotel", false).unwrap(),
        bpe.encode(" hotel").unwrap()
    );
    assert_eq!(
        bpe.encode_word("hotel", true).unwrap(),
        bpe.encode("hotel").unwrap()
    );
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

#[test]
fn folders_that_are_wrong_are_refused() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let put = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    let refused = |words: &[&str]| {
        let error = Tokenizer::open(root).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. }), "{error:?}");
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(&["no tokeniser found", "vocab.txt", "melos tokenizer train"]);
    let error = Tokenizer::open(root.join("nowhere")).unwrap_err();
    assert!(matches!(error, Error::FileMissing { .. }), "{error}");

    put("vocab.txt", "[PAD]\n[CLS]\n[SEP]\n[MASK]\na\n");
    refused(&["vocab.txt", "no unk_token '[UNK]'"]);
    put("vocab.txt", "[PAD]\n[UNK]\na\n");
    put("tokenizer_config.json", "{");
    refused(&["tokenizer_config.json", "not valid JSON"]);
    put("tokenizer_config.json", "[]");
    refused(&["tokenizer_config.json", "one JSON object"]);
    put(
        "tokenizer_config.json",
        r#"{"added_tokens_decoder": {"9": {"content": "<new>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}}}"#,
    );
    refused(&["'<new>' the id 9"]);
    put(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "sudachi"}"#,
    );
    refused(&["'sudachi' is not supported, only mecab"]);
    put(
        "tokenizer_config.json",
        r#"{"word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "unidic"}}"#,
    );
    refused(&["'unidic' is not supported, only ipadic"]);
    put(
        "tokenizer_config.json",
        r#"{"word_tokenizer_type": "mecab", "subword_tokenizer_type": "sentencepiece"}"#,
    );
    refused(&["'sentencepiece' is not supported"]);
    put("tokenizer_config.json", "{}");
    // It opens, and lacks what BERT needs.
    let tokenizer = Tokenizer::open(root).unwrap();
    let error = tokenizer
        .vocabulary()
        .need("mask_token", "fill-mask")
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("no mask_token, which fill-mask needs"),
        "{error}"
    );
    // A missing [CLS] leaves texts unframed.
    assert_eq!(tokenizer.encoding("a", None, true).unwrap().ids, [2]);

    fs::remove_file(root.join("vocab.txt")).unwrap();
    put("vocab.json", r#"{"a": 0, "b": 1}"#);
    refused(&["no tokeniser found"]);
    put("merges.txt", "#version: 0.2\na b\n");
    refused(&["merges.txt", "does not fit vocab.json"]);
    put("merges.txt", "#version: 0.2\nab\n");
    refused(&["'ab' is no pair"]);
    put("vocab.json", r#"["a"]"#);
    refused(&["vocab.json", "one JSON object of tokens and ids"]);
    put("tokenizer.json", r#"{"version": "1.0""#);
    refused(&["not a valid tokenizer.json"]);
    // For an LSTM the first ids are fixed.
    let error = Tokenizer::load(fixture("cased/tokenizer.json")).unwrap_err();
    assert!(
        error.to_string().contains("<pad> should have id 0"),
        "{error}"
    );
}

#[test]
fn vocabularies_without_room_are_refused() {
    use TokenizerKind::*;
    for (kind, family, size) in [
        (Wordpiece, None, 5),
        (Char, None, 5),
        (Bpe, Some(Family::Gpt2), 256),
        (Word, None, 4),
    ] {
        let error = Tokenizer::train_on(texts(), &options(kind, family, size)).unwrap_err();
        assert!(
            error.to_string().contains(&format!("vocab_size = {size}")),
            "{error}"
        );
        // One more is enough.
        assert!(Tokenizer::train_on(texts(), &options(kind, family, size + 1)).is_ok());
    }
    let error = Tokenizer::train_on([" "], &options(Wordpiece, None, 50)).unwrap_err();
    assert!(matches!(error, Error::EmptyText { .. }));
}
