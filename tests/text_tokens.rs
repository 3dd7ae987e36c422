//! Tokenisers, the tokenised copy on disk, and word vectors.
#![cfg(feature = "train")]

use std::fs;
use std::path::Path;

use melos::Error;
use melos::text::corpus::{Example, Source, Split};
use melos::text::documents::{Documents, tokenise};
use melos::text::tokenizer::{EOS, PAD, Tokenizer, TokenizerKind, TokenizerOptions, UNK};
use melos::text::vectors::WordVectors;

const TEXTS: [&str; 4] = [
    "The film isn't bad... The FILM's good!",
    "Caf\u{e9} and cafe\u{301} are one -- the film, the café.",
    "the 1990s   film-maker said: 'don't go'",
    "the the the film is",
];

fn options(kind: TokenizerKind, vocab_size: usize, min_frequency: u64) -> TokenizerOptions {
    TokenizerOptions {
        kind,
        vocab_size,
        min_frequency,
        ..TokenizerOptions::default()
    }
}

fn words() -> Tokenizer {
    Tokenizer::train_on(TEXTS, &options(TokenizerKind::Word, 1000, 1)).unwrap()
}

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

#[test]
fn tokenising_many_keeps_the_order() {
    let texts: Vec<String> = (0..20_000).map(|i| format!("w{}", i % 977)).collect();
    let tokenizer = Tokenizer::train_on(texts.clone(), &TokenizerOptions::default()).unwrap();
    let example = |text: &String| Example {
        text: text.clone(),
        pair: None,
        label: None,
        split: None,
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
        split: None,
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

const VECTORS: [(&str, [f32; 3]); 4] = [
    ("The", [9.0, 9.0, 9.0]),
    ("film", [1.0, -2.5, 3e-4]),
    ("the", [0.5, 0.25, -1.0]),
    ("elsewhere", [7.0, 7.0, 7.0]),
];

fn as_text(header: bool) -> Vec<u8> {
    let mut text = if header {
        "4 3\n".to_string()
    } else {
        String::new()
    };
    for (word, [x, y, z]) in VECTORS {
        text += &format!("{word} {x} {y} {z}\n");
    }
    text.into()
}

fn as_binary(line_ends: bool) -> Vec<u8> {
    let mut bytes = b"4 3\n".to_vec();
    for (word, row) in VECTORS {
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(b' ');
        bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
        if line_ends {
            bytes.push(b'\n');
        }
    }
    bytes
}

#[test]
fn word_vectors_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let tokenizer = words();
    for bytes in [
        as_text(true),
        as_text(false),
        as_binary(true),
        as_binary(false),
    ] {
        fs::write(&path, &bytes).unwrap();
        let vectors = WordVectors::read(&path, &tokenizer).unwrap();
        assert_eq!((vectors.dim, vectors.in_file), (3, 4));
        assert_eq!(vectors.rows.len(), 3 * tokenizer.vocab_size());
        // `the` itself, though `The` came first.
        assert_eq!(
            vectors.row(tokenizer.id("the").unwrap()),
            Some(&VECTORS[2].1[..])
        );
        assert_eq!(
            vectors.row(tokenizer.id("film").unwrap()),
            Some(&VECTORS[1].1[..])
        );
        assert_eq!(vectors.row(tokenizer.id("good").unwrap()), None);
        assert_eq!(vectors.row(u32::MAX), None);
        let coverage = 2.0 / tokenizer.vocab_size() as f64;
        assert!((vectors.coverage() - coverage).abs() < 1e-12);
    }
    // Only the upper-case form is there; a word of GloVe 840B holds spaces.
    fs::write(&path, "The 1 2 3\n. . . 4 5 6\n").unwrap();
    let vectors = WordVectors::read(&path, &tokenizer).unwrap();
    assert_eq!(
        vectors.row(tokenizer.id("the").unwrap()),
        Some(&[1.0, 2.0, 3.0][..])
    );
    assert_eq!(vectors.in_file, 2);
}

#[test]
fn bad_word_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let tokenizer = words();
    assert!(matches!(
        WordVectors::read(&path, &tokenizer),
        Err(Error::FileMissing { .. })
    ));
    let fails = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        WordVectors::read(&path, &tokenizer).unwrap_err()
    };
    assert!(matches!(fails(b""), Error::EmptyText { .. }));
    let binary = as_binary(true);
    let huge = b"3 4000000000\nthe 1 2\n";
    let cases: [(&[u8], &str); 9] = [
        (
            b"the 1 2 3\nfilm 1 2\n",
            "line 2: expected 3 numbers as before, found 2",
        ),
        (
            b"the 1 2 3\nfilm 1 2 3 4\n",
            "line 2: expected 3 numbers as before, found 4",
        ),
        (
            b"the 1 2 3\nfilm 1 two 3\n",
            "line 2: 'two' is not a finite number",
        ),
        (b"the 1 nan 3\n", "line 1: 'nan' is not a finite number"),
        (b"2 3\nthe 1 2 3\n", "promises 2 vectors, found 1"),
        (
            &binary[..binary.len() - 5],
            "vector 4: the file ends inside it",
        ),
        (&binary[..30], "vector 2: "),
        (huge, "expected a word and 1 to 65536 numbers"),
        (b"the\n", "expected a word and 1 to 65536 numbers"),
    ];
    for (bytes, expected) in cases {
        let error = fails(bytes);
        assert!(matches!(error, Error::Vectors { .. }), "{error:?}");
        assert!(
            error.to_string().contains(expected),
            "{error} lacks: {expected}"
        );
    }
    let mut nan = as_binary(false);
    nan[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(fails(&nan).to_string().contains("not finite"));
}
