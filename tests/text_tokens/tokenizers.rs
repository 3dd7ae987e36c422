//! Tokenisers.

use std::fs;

use melos::Error;
use melos::text::corpus::Source;
use melos::text::tokenizer::{EOS, PAD, Tokenizer, TokenizerKind, TokenizerOptions, UNK};

use crate::{TEXTS, options, words};

fn split(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer
        .encode(text)
        .unwrap()
        .iter()
        .map(|&id| tokenizer.token(id).unwrap())
        .collect()
}

#[test]
fn words_and_punctuation() {
    let tokenizer = words();
    let first = split(&tokenizer, TEXTS[0]);
    assert_eq!(
        first,
        [
            "the", "film", "isn't", "bad", "...", "the", "film", "'s", "good", "!"
        ]
    );
    // Decomposed and composed accents are one word.
    let second = split(&tokenizer, TEXTS[1]);
    assert_eq!(second[..5], ["café", "and", "café", "are", "one"]);
    let third = split(&tokenizer, TEXTS[2]);
    assert_eq!(
        third,
        [
            "the", "1990", "s", "film", "-", "maker", "said", ":", "'", "don't", "go", "'"
        ]
    );
    assert_eq!(
        tokenizer.encode("never seen <eos> <pad>").unwrap(),
        [UNK, UNK, EOS, PAD]
    );
    assert_eq!(tokenizer.encode("").unwrap(), [] as [u32; 0]);
    // The most frequent word comes first after the special tokens.
    assert_eq!(tokenizer.id("the"), Some(4));
    assert_eq!(tokenizer.id("film"), Some(5));
    assert_eq!(tokenizer.decode(&[4, 5, EOS]).unwrap(), "the film");
}

/// ASCII text takes another way through the word tokeniser; the result must not show it.
#[test]
fn fast_words_equal_the_pattern() {
    let pieces = [
        "a", "n", "t", "s", "'", "'", "d", "ll", "re", "n't", "isn't", "don't", " ", " ", "\n",
        "\t", "\u{b}", "\u{1c}", ".", ".", "-", "-", "_", "1", "23", "<", ">", "<unk>", "<eos>",
        "(", "!", "A", "N'T", "S", "film",
    ];
    let mut rng = melos::text::rng::Rng::new(1, &[]);
    let mut text = || {
        let count = rng.below(14);
        (0..count)
            .map(|_| pieces[rng.below(pieces.len())])
            .collect::<String>()
    };
    let texts: Vec<String> = (0..20_000).map(|_| text()).collect();
    let tokenizer =
        Tokenizer::train_on(texts.clone(), &options(TokenizerKind::Word, 100_000, 1)).unwrap();
    for text in &texts {
        let expected = tokenizer.encode_by_pattern(text).unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
        // Every word was counted when it was met, so none is unknown but those written so.
        assert!(
            !expected.contains(&UNK) || text.contains("<unk>"),
            "{text:?}"
        );
    }
}

#[test]
fn vocabulary_limits() {
    let frequent = Tokenizer::train_on(TEXTS, &options(TokenizerKind::Word, 1000, 2)).unwrap();
    assert!(frequent.id("good").is_none() && frequent.id("café").is_some());
    let small = Tokenizer::train_on(TEXTS, &options(TokenizerKind::Word, 6, 1)).unwrap();
    assert_eq!(small.vocab_size(), 6);
    assert_eq!(small.encode("the film is").unwrap(), [4, 5, UNK]);
    let error = Tokenizer::train_on(TEXTS, &options(TokenizerKind::Word, 4, 1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Argument {
                arg: "vocab_size",
                ..
            }
        ),
        "{error:?}"
    );
    let error = Tokenizer::train_on([" "], &TokenizerOptions::default()).unwrap_err();
    assert!(matches!(error, Error::EmptyText { .. }), "{error:?}");
}

#[test]
fn the_tasks_own_words_come_before_other_texts() {
    let root = tempfile::tempdir().unwrap();
    let (task, other) = (root.path().join("task.csv"), root.path().join("other.txt"));
    std::fs::write(
        &task,
        "text,label\nwry wry plot,pos\ndrab drab plot once,neg\n",
    )
    .unwrap();
    std::fs::write(&other, "the the the the the cast cast cast once\n").unwrap();
    // The other text first: the order of the sources does not matter.
    let sources = [Source::unlabelled(&other), Source::new(&task)];
    let vocabulary = |size| {
        let options = options(TokenizerKind::Word, size, 2);
        let tokenizer = Tokenizer::train(&sources, &options).unwrap();
        let tokens = 4..tokenizer.vocab_size() as u32;
        tokens
            .map(|id| tokenizer.token(id).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(vocabulary(4 + 3), ["drab", "plot", "wry"]);
    // Once in each is twice, which counts, but behind what the task itself uses twice.
    assert_eq!(
        vocabulary(100),
        ["drab", "plot", "wry", "the", "cast", "once"]
    );
}

#[test]
fn byte_pairs_are_reversible() {
    let tokenizer = Tokenizer::train_on(TEXTS, &options(TokenizerKind::Bpe, 300, 1)).unwrap();
    assert_eq!(tokenizer.vocab_size(), 300);
    for text in ["The film isn't bad...", "走れメロス 🏃", "  spaces\n"] {
        let ids = tokenizer.encode(text).unwrap();
        assert!(!ids.contains(&UNK));
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    assert!(
        tokenizer.encode("the film").unwrap().len() < 8,
        "no pair was merged"
    );
}

#[test]
fn training_does_not_depend_on_threads() {
    let texts: Vec<String> = (0..3000)
        .map(|i| format!("word{} w{} common thing{} café", i % 97, i, (i * i) % 31))
        .collect();
    for kind in [TokenizerKind::Word, TokenizerKind::Bpe] {
        let train = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| Tokenizer::train_on(texts.clone(), &options(kind, 600, 1)).unwrap())
        };
        assert_eq!(train(1).hash(), train(5).hash());
        assert_eq!(train(3).hash(), train(3).hash());
    }
}

#[test]
fn saved_and_loaded_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for kind in [TokenizerKind::Word, TokenizerKind::Bpe] {
        let tokenizer = Tokenizer::train_on(TEXTS, &options(kind, 400, 1)).unwrap();
        tokenizer.save(&path).unwrap();
        let again = Tokenizer::load(&path).unwrap();
        assert_eq!(tokenizer.hash(), again.hash());
        let of_folder = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(tokenizer.hash(), of_folder.hash());
        assert_eq!(tokenizer.vocab_size(), again.vocab_size());
        for text in TEXTS {
            assert_eq!(tokenizer.encode(text).unwrap(), again.encode(text).unwrap());
        }
    }
}

#[test]
fn bad_tokenizer_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    assert!(matches!(
        Tokenizer::load(&path),
        Err(Error::FileMissing { .. })
    ));
    words().save(&path).unwrap();
    let json = fs::read_to_string(&path).unwrap();
    fs::write(&path, &json[..json.len() / 2]).unwrap();
    let error = Tokenizer::load(&path).unwrap_err();
    assert!(
        error.to_string().contains("not a valid tokenizer.json"),
        "{error}"
    );
    fs::write(&path, json.replace("<eos>", "<end>")).unwrap();
    let error = Tokenizer::load(&path).unwrap_err();
    assert!(
        error.to_string().contains("<eos> should have id 3"),
        "{error}"
    );
    let error = words()
        .save(folder.path().join("none/tokenizer.json"))
        .unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
}
