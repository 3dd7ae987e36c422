//! Tokenisers as transformers has them: fixtures made by tools/make_tokenizer_fixtures.py, training,
//! files there and back, errors.
#![cfg(feature = "train")]

use std::fs;
use std::path::{Path, PathBuf};

use melos::Error;
use melos::text::tokenizer::morphemes::build_dictionary;
use melos::text::tokenizer::{Family, Subword, Tokenizer, TokenizerKind, TokenizerOptions};
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

/// The cases that transformers 5.23 was asked.
fn cases() -> Vec<Case> {
    serde_json::from_slice(&fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn check(tokenizer: &Tokenizer, case: &Case) {
    let found = tokenizer.encoding(&case.text, case.pair.as_deref(), true);
    let found = found.unwrap();
    let place = format!("{}: {:?}", case.folder, case.text);
    assert_eq!(found.ids, case.ids, "{place} {:?}", found.tokens);
    if let Some(types) = &case.types {
        assert_eq!(found.token_types, *types, "{place}");
    }
    if let Some(offsets) = &case.offsets {
        assert_eq!(found.offsets, *offsets, "{place}");
    }
    let decoded = tokenizer.decode(&case.ids).unwrap();
    assert_eq!(decoded, case.decoded, "{place}");
}

#[test]
fn texts_are_cut_as_transformers_cuts_them() {
    let (_folder, words) = dictionary();
    let cases = cases();
    assert_eq!(cases.len(), 74);
    for case in cases {
        let tokenizer = Tokenizer::open_with(fixture(&case.folder), Some(&words)).unwrap();
        check(&tokenizer, &case);
    }
}

#[test]
fn ids_stay_when_a_tokeniser_is_saved() {
    let (_folder, words) = dictionary();
    for name in [
        "bpe",
        "roberta",
        "roberta-silent",
        "xlm-roberta",
        "gaps",
        "japanese-gaps",
        "characters-gaps",
    ] {
        let tokenizer = Tokenizer::open_with(fixture(name), Some(&words)).unwrap();
        let folder = TempDir::new().unwrap();
        let places = ["first", "second"].map(|place| folder.path().join(place));
        tokenizer.save_folder(&places[0]).unwrap();
        let open = |place: &Path| Tokenizer::open_with(place, Some(&words)).unwrap();
        open(&places[0]).save_folder(&places[1]).unwrap();
        let mut saved = places.each_ref().map(|place| open(place)).to_vec();
        // The older files do not say that a mask takes the space before it.
        let older = ["vocab.txt", "merges.txt"].iter();
        let json = places[1].join("tokenizer.json").exists();
        let older = json && older.clone().any(|file| places[1].join(file).exists());
        if older && name != "roberta-silent" {
            fs::remove_file(places[1].join("tokenizer.json")).unwrap();
            saved.push(open(&places[1]));
        }
        for again in saved {
            assert_eq!(again.vocab_size(), tokenizer.vocab_size(), "{name}");
            assert_eq!(
                again.vocabulary().roles(),
                tokenizer.vocabulary().roles(),
                "{name}"
            );
            for id in 0..tokenizer.vocab_size() as u32 {
                assert_eq!(again.token(id), tokenizer.token(id), "{name} {id}");
            }
            for case in cases().iter().filter(|case| case.folder == name) {
                check(&again, case);
            }
        }
    }
}

#[test]
fn added_tokens_keep_their_ids_behind_gaps() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let new = r#"{"content": "<new>", "special": true, "lstrip": false, "rstrip": false,
        "normalized": false, "single_word": false}"#;
    // No token has 2 or 5.
    let put = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
    put(
        "vocab.json",
        r#"{"a": 0, "b": 1, "ab": 3, "<|endoftext|>": 4, "Ġ": 6}"#,
    );
    put("merges.txt", "#version: 0.2\na b\n");
    put(
        "tokenizer_config.json",
        &format!("{{\"added_tokens_decoder\": {{\"7\": {new}}}}}"),
    );
    let expected = [3, 7, 6, 1, 4];
    let tokenizer = Tokenizer::open(root).unwrap();
    let text = "ab<new> b<|endoftext|>";
    assert_eq!(tokenizer.encode(text).unwrap(), expected);
    let target = root.join("saved");
    tokenizer.save_folder(&target).unwrap();
    let again = Tokenizer::open(&target).unwrap();
    assert_eq!(again.encode(text).unwrap(), expected);
    fs::remove_file(target.join("tokenizer.json")).unwrap();
    let again = Tokenizer::open(&target).unwrap();
    assert_eq!(again.encode(text).unwrap(), expected);
    assert_eq!(again.vocab_size(), 8);
}

#[test]
fn line_breaks_are_no_tokens_of_a_japanese_vocabulary() {
    let (_folder, words) = dictionary();
    for subword in [Subword::Wordpiece, Subword::Character] {
        let options = TokenizerOptions {
            min_frequency: 1,
            ..TokenizerOptions::japanese(60, subword, Some(words.clone()))
        };
        let text = "メロスは\r激怒した。\nメロスには\r\n政治がわからぬ。";
        let tokenizer = Tokenizer::train_on([text], &options).unwrap();
        let folder = TempDir::new().unwrap();
        tokenizer.save_folder(folder.path()).unwrap();
        let again = Tokenizer::open_with(folder.path(), Some(&words)).unwrap();
        assert_eq!(again.vocab_size(), tokenizer.vocab_size());
        for id in 0..tokenizer.vocab_size() as u32 {
            assert_eq!(again.token(id), tokenizer.token(id), "{subword:?} {id}");
        }
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
    let framed = |mask| Roles {
        bos: Some(0),
        eos: Some(2),
        pad: Some(1),
        unk: Some(3),
        cls: Some(0),
        sep: Some(2),
        mask: Some(mask),
    };
    // Told by nobody, the frame says which token begins a text and which ends it.
    for name in ["roberta", "roberta-silent"] {
        assert_eq!(roles(name), framed(4), "{name}");
    }
    assert_eq!(roles("xlm-roberta"), framed(184));
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
fn a_tokeniser_is_trained_once_for_the_same_text() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text.txt");
    fs::write(&file, texts().join("\n")).unwrap();
    let cache = folder.path().join("cache");
    let make = |source: &Source, size| {
        let options = options(TokenizerKind::Wordpiece, None, size);
        let source = std::slice::from_ref(source);
        let hash = Tokenizer::train_cached(source, &options, &cache)
            .unwrap()
            .hash()
            .to_owned();
        (hash, fs::read_dir(&cache).unwrap().count())
    };
    let source = Source::unlabelled(&file);
    let first = make(&source, 100);
    assert_eq!(first.1, 1);
    assert_eq!(make(&source, 100), first);
    let direct = Tokenizer::train(
        std::slice::from_ref(&source),
        &options(TokenizerKind::Wordpiece, None, 100),
    );
    assert_eq!(direct.unwrap().hash(), first.0);
    assert_eq!(make(&source, 101).1, 2);
    let cut = Source {
        sentence_end: Some(".".into()),
        ..source
    };
    assert_eq!(make(&cut, 100).1, 3, "how the text is read counts");
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

/// WordPiece takes them for unknown; learning from them took the square of their length.
#[test]
fn words_that_are_too_long_teach_no_pieces() {
    let options = TokenizerOptions {
        min_frequency: 1,
        ..options(TokenizerKind::Wordpiece, None, 90)
    };
    let train = |texts: &[String]| Tokenizer::train_on(texts.to_vec(), &options).unwrap();
    let plain = train(&["the film the films thin".into()]);
    let long = |length: usize| "theisofn".chars().cycle().take(length).collect::<String>();
    let with = train(&["the film the films thin".into(), long(400_000)]);
    assert_eq!(with.encode("the films").unwrap().len(), 2);
    let pieces = |tokenizer: &Tokenizer| {
        let tokens = (0..tokenizer.vocab_size() as u32).filter_map(|id| tokenizer.token(id));
        let longer = tokens.filter(|token| token.trim_start_matches('#').chars().count() > 1);
        longer.collect::<Vec<_>>()
    };
    assert_eq!(pieces(&with), pieces(&plain));
    // Its letters are known all the same, and a word of the longest length counts.
    assert!(with.id("o").is_some() && plain.id("o").is_none());
    assert!(pieces(&train(&[long(100)])).len() > pieces(&plain).len());
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
