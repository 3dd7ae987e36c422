//! Corpora for transformers: novels cut in sentences, archives of texts, pairs of columns, labelled
//! words, parts of given sizes.
#![cfg(feature = "train")]

use std::fs;
use std::path::{Path, PathBuf};

use melos::Error;
use melos::text::corpus::{Column, Example, Format, Source, Split, read, read_tagged};
use melos::text::documents::{Documents, tokenise};
use melos::text::split::parts;
use melos::text::tokenizer::{Tokenizer, TokenizerOptions};
use tempfile::TempDir;

fn all(source: &Source) -> Vec<Example> {
    let mut examples = Vec::new();
    let count = read(source, &mut |example| {
        let line = None;
        examples.push(Example { line, ..example });
        Ok(())
    });
    count.unwrap();
    examples
}

fn texts(source: &Source) -> Vec<String> {
    all(source)
        .into_iter()
        .map(|example| example.text)
        .collect()
}

fn put(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_novel_is_cut_in_sentences() {
    let folder = TempDir::new().unwrap();
    let text = "\u{feff}走る。　メロスは\r\n走る。\r\n\r\n「待て。」\r\n王";
    let path = put(&folder, "novel.txt", text);
    let whole = Source {
        format: Some(Format::Whole),
        ..Source::unlabelled(&path)
    };
    assert_eq!(
        texts(&whole),
        ["走る。　メロスは\n走る。\n\n「待て。」\n王"]
    );
    let source = Source {
        sentence_end: Some("。".into()),
        ..whole
    };
    assert_eq!(
        texts(&source),
        ["走る。", "メロスは走る。", "「待て。", "」王"]
    );
    assert!(all(&source).iter().all(|e| e.split == Some(Split::Unsup)));
}

#[test]
fn an_archive_of_texts_is_read_and_its_notes_are_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("books.tar.gz");
    let file = fs::File::create(&path).unwrap();
    let gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let mut archive = tar::Builder::new(gz);
    for (name, text) in [
        ("x/colophons.txt", "printed in 1940"),
        ("x/index.tsv", "a\tb"),
        ("x/a/1.txt", "first\r\nbook\n"),
        ("x/a/2.txt", " \n"),
        ("x/b/1.txt", "second"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_cksum();
        archive
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    let source = Source::unlabelled(&path);
    assert_eq!(source.resolve_format().unwrap(), Format::Folder);
    assert_eq!(texts(&source), ["first\nbook", "second"]);
}

#[test]
fn two_columns_make_a_pair() {
    let folder = TempDir::new().unwrap();
    let csv = put(
        &folder,
        "e2e.csv",
        "mr,ref\n\"name[A], food[B]\",A serves B.\nname[C],\"C,\nfine.\"\n",
    );
    let jsonl = put(
        &folder,
        "nli.jsonl",
        "{\"a\": \"it rains\", \"b\": \"it is wet\", \"label\": 1}\n",
    );
    let column = |name: &str| Some(Column::from(name));
    let source = Source {
        text: column("mr"),
        pair: column("ref"),
        ..Source::unlabelled(&csv)
    };
    let pairs: Vec<_> = all(&source)
        .into_iter()
        .map(|e| (e.text, e.pair.unwrap()))
        .collect();
    assert_eq!(pairs[0], ("name[A], food[B]".into(), "A serves B.".into()));
    assert_eq!(pairs[1], ("name[C]".into(), "C,\nfine.".into()));

    let tokenizer = Tokenizer::train_on(
        pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]),
        &TokenizerOptions {
            min_frequency: 1,
            ..TokenizerOptions::default()
        },
    )
    .unwrap();
    let cache = folder.path().join("cache");
    for from_cache in [false, true] {
        let documents = tokenise(std::slice::from_ref(&source), &tokenizer, Some(&cache)).unwrap();
        assert_eq!(documents.from_cache(), from_cache);
        for (doc, (a, b)) in (0..).zip(&pairs) {
            let (first, second) = documents.texts(doc);
            assert_eq!(first, tokenizer.encode(a).unwrap());
            assert_eq!(second.unwrap(), tokenizer.encode(b).unwrap());
            assert_eq!(documents.ids(doc), [first, second.unwrap()].concat());
        }
    }
    let source = Source {
        text: column("a"),
        pair: column("b"),
        ..Source::new(&jsonl)
    };
    let example = &all(&source)[0];
    assert_eq!(
        (example.pair.as_deref(), example.label.as_deref()),
        (Some("it is wet"), Some("1"))
    );
    let missing = Source {
        pair: column("c"),
        ..source
    };
    let error = read(&missing, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("no pair column 'c'"), "{error}");
    let missing = Source {
        text: column("mr"),
        pair: column("refs"),
        ..Source::unlabelled(&csv)
    };
    let error = read(&missing, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("no pair column 'refs'"), "{error}");
}

#[test]
fn labelled_words_are_read() {
    let folder = TempDir::new().unwrap();
    let conll = put(
        &folder,
        "train.conll",
        "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER",
    );
    let found = read_tagged(&Source::new(&conll)).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].words, ["EU", "rejects"]);
    assert_eq!(found[0].tags, ["B-ORG", "O"]);
    assert_eq!(found[1].tags, ["B-PER"]);
    let jsonl = put(
        &folder,
        "a.jsonl",
        "{\"tokens\": [\"EU\", \"x\"], \"ner_tags\": [3, 0]}\n",
    );
    assert_eq!(
        read_tagged(&Source::new(&jsonl)).unwrap()[0].tags,
        ["3", "0"]
    );
    for (text, what) in [
        (
            "{\"tokens\": [\"EU\"], \"tags\": []}",
            "as many tags as tokens",
        ),
        ("{\"tags\": [\"EU\"]}", "under 'tokens'"),
        ("[1]", "one list of JSON objects: found a number"),
        ("\"x\"", "one JSON object a line: found a string"),
    ] {
        let path = put(&folder, "bad.jsonl", text);
        let error = read_tagged(&Source::new(&path)).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("line 1"), "{error}");
    }
    let path = put(&folder, "bad.conll", "word O\nalone\n");
    let error = read_tagged(&Source::new(&path)).unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("its label"),
        "{error}"
    );
    for (name, text) in [("empty.conll", "\n"), ("empty.json", "[]")] {
        let empty = read_tagged(&Source::new(put(&folder, name, text)));
        assert!(matches!(empty, Err(Error::EmptyText { .. })));
    }
}

#[test]
fn labelled_words_stand_where_the_source_says() {
    let folder = TempDir::new().unwrap();
    let source = |name: &str, text: &str, columns: [&str; 2]| Source {
        text: Some(columns[0].into()),
        label: Some(columns[1].into()),
        ..Source::new(put(&folder, name, text))
    };
    // CoNLL-U: number, word, lemma, part of speech, more.
    let conllu = "1\tDogs\tdog\tNOUN\t_\n2\tbark\tbark\tVERB\t_\n";
    let found = read_tagged(&source("a.conllu", conllu, ["1", "3"])).unwrap();
    assert_eq!(found[0].words, ["Dogs", "bark"]);
    assert_eq!(found[0].tags, ["NOUN", "VERB"]);
    let list = "[\n{\"w\":[\"Dogs\"],\"pos\":[\"N\"]},\n{\"w\":[\"a\",\"b\"],\"pos\":[1,2]}\n]";
    let found = read_tagged(&source("a.json", list, ["w", "pos"])).unwrap();
    assert_eq!(found[1].words, ["a", "b"]);
    assert_eq!(found[1].tags, ["1", "2"]);
    for (name, text, columns, words) in [
        (
            "a.conllu",
            conllu,
            ["1", "9"],
            "'a.conllu' line 1: expected a word in column 1",
        ),
        ("a.conllu", conllu, ["word", "3"], "no text column 'word'"),
        (
            "a.json",
            list,
            ["w", "tag"],
            "no label column 'tag'; it has: w, pos; name one by its key",
        ),
        (
            "b.json",
            "[\n\n{\"w\":[\"a\"],\"pos\":[]}]",
            ["w", "pos"],
            "line 3: expected as many tags",
        ),
    ] {
        let error = read_tagged(&source(name, text, columns)).unwrap_err();
        let root = format!("{}/", folder.path().display());
        let error = error.to_string().replace(&root, "");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn parts_have_their_sizes_and_share_nothing() {
    let example = |i: usize| Example {
        text: format!("w{i}"),
        pair: None,
        label: None,
        ..Example::default()
    };
    let options = TokenizerOptions {
        min_frequency: 1,
        ..TokenizerOptions::default()
    };
    let tokenizer = Tokenizer::train_on(["w"], &options).unwrap();
    let documents = Documents::from_examples((0..458).map(example), &tokenizer).unwrap();
    let from: Vec<u32> = (0..458).collect();
    let split = |seed| parts(&documents, &from, [0.6, 0.2, 0.2], seed).unwrap();
    let [train, valid, test] = split(1);
    assert_eq!([train.len(), valid.len(), test.len()], [275, 91, 92]);
    assert!([&train, &valid, &test].iter().all(|part| part.is_sorted()));
    let mut together = [train, valid, test].concat();
    together.sort_unstable();
    assert_eq!(together, from);
    assert_eq!(split(1), split(1));
    assert_ne!(split(1), split(2));
    let error = parts(&documents, &from, [0.6, 0.2], 1).unwrap_err();
    assert!(error.to_string().contains("add up to 1"), "{error}");
}

/// A real corpus, in the folder that `MELOS_DATA` names, else in `../shared/data`; or a loud note
/// that the test did less.
fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MELOS_DATA").map(PathBuf::from);
    let near = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = folder.unwrap_or(near).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "SKIPPED: no '{}'; set MELOS_DATA to the folder that holds {name}",
        path.display()
    );
    None
}

#[test]
fn the_real_corpora_have_their_sizes() {
    if let Some(novel) = data("hashire_merosu.txt") {
        let source = Source {
            format: Some(Format::Whole),
            sentence_end: Some("。".into()),
            ..Source::unlabelled(novel)
        };
        // 459 pieces, the last of them empty.
        let sentences = texts(&source);
        assert_eq!(sentences.len(), 458);
        assert_eq!(sentences[0], "メロスは激怒した。");
        assert!(sentences.iter().all(|s| s.ends_with('。')));
    }
    if let Some(works) = data("aozora_corpus.tar.gz") {
        assert_eq!(texts(&Source::unlabelled(works)).len(), 440);
    }
    if let Some(e2e) = data("e2e-dataset/devset.csv") {
        let source = Source {
            text: Some("mr".into()),
            pair: Some("ref".into()),
            split: Some(Split::Validation),
            ..Source::unlabelled(e2e)
        };
        let examples = all(&source);
        assert_eq!(examples.len(), 4_672);
        assert!(
            examples
                .iter()
                .all(|e| e.pair.is_some() && e.split == Some(Split::Validation))
        );
    }
    if let Some(wiki) = data("wikitext-2/wiki.valid.tokens") {
        let source = Source::unlabelled(wiki);
        assert_eq!(source.resolve_format().unwrap(), Format::Wikitext);
        assert_eq!(texts(&source).len(), 60);
    }
}
