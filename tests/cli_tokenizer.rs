//! `melos tokenizer` from outside: what it writes and prints, and how it refuses.
#![cfg(feature = "cli")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// Runs `melos tokenizer` with an empty cache: (exit code, standard output, standard error).
fn run(folder: &TempDir, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_melos"))
        .arg("tokenizer")
        .args(arguments)
        .current_dir(folder.path())
        .env("MELOS_CACHE", folder.path().join("cache"))
        .env_remove("MELOS_DICTIONARY")
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that ends early reads nothing.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let out = child.wait_with_output().expect("the program ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (
        out.status.code().unwrap_or(-1),
        text(out.stdout),
        text(out.stderr),
    )
}

fn done(folder: &TempDir, arguments: &[&str], input: &str) -> String {
    let (code, out, error) = run(folder, arguments, input);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}

fn refused(folder: &TempDir, arguments: &[&str], code: i32) -> String {
    let (found, out, error) = run(folder, arguments, "");
    assert_eq!(found, code, "{arguments:?}: {error}");
    assert!(out.is_empty(), "{arguments:?} wrote to stdout");
    assert!(!error.contains("panicked"), "{error}");
    error
}

#[test]
fn a_tokeniser_is_trained_and_used() {
    let folder = TempDir::new().unwrap();
    let data = root("data/unlabelled.txt");
    let data = data.to_str().unwrap();
    for (kind, file) in [
        ("wordpiece", "vocab.txt"),
        ("bpe", "merges.txt"),
        ("word", "tokenizer.json"),
        ("char", "tokenizer.json"),
    ] {
        let arguments = [
            "train",
            "--kind",
            kind,
            "--vocabulary",
            "300",
            "--data",
            data,
            "--out",
            kind,
        ];
        let said = done(&folder, &arguments, "");
        assert!(
            said.contains(&format!("tokens, written to {kind}")),
            "{said}"
        );
        assert!(folder.path().join(kind).join(file).exists());
    }
    let json = |arguments: &[&str], input: &str| -> Vec<Value> {
        let out = done(&folder, arguments, input);
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let both = json(&["encode", "wordpiece", "--json"], "The film.\r\nno\n");
    assert_eq!(both.len(), 2);
    assert_eq!(
        both[0]["tokens"],
        json!(["[CLS]", "the", "film", "[UNK]", "[SEP]"])
    );
    assert_eq!(both[0]["offsets"][2], json!([4, 8]));
    let pair = json(
        &["encode", "wordpiece", "the", "--pair", "film", "--json"],
        "",
    );
    assert_eq!(pair[0]["token_types"], json!([0, 0, 0, 1, 1]));
    let bare = json(
        &["encode", "wordpiece", "The film", "--no-special", "--json"],
        "",
    );
    let ids: Vec<String> = bare[0]["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    let lines = done(
        &folder,
        &["encode", "wordpiece", "The film", "--no-special"],
        "",
    );
    assert_eq!(
        lines,
        format!("{}\tthe\t0..3\n{}\tfilm\t4..8\n\n", ids[0], ids[1])
    );
    assert_eq!(
        done(&folder, &["decode", "wordpiece", &ids[0], &ids[1]], ""),
        "the film\n"
    );
    let listed = format!("[{}]\n2,{}\n", ids.join(", "), ids[0]);
    assert_eq!(
        done(&folder, &["decode", "wordpiece"], &listed),
        "the film\nthe\n"
    );
    let kept = done(
        &folder,
        &["decode", "wordpiece", "2", "--keep-special", "--json"],
        "",
    );
    assert_eq!(kept, "{\"text\":\"[CLS]\"}\n");
    // An LSTM's word tokeniser opens as one.
    let path = folder.path().join("word/tokenizer.json");
    assert!(melos::text::Tokenizer::load(path).is_ok());
}

#[test]
fn a_dictionary_is_built_and_found() {
    let folder = TempDir::new().unwrap();
    let japanese = root("fixtures/tokenizers/japanese");
    let japanese = japanese.to_str().unwrap();
    let error = refused(&folder, &["encode", japanese, "メロス"], 5);
    for what in [
        "ipadic.morphemes",
        "apt-get install mecab-ipadic",
        "melos tokenizer build-dictionary",
    ] {
        assert!(error.contains(what), "{error}");
    }
    let sources = root("fixtures/tokenizers/ipadic");
    let sources = sources.to_str().unwrap();
    let said = done(&folder, &["build-dictionary", sources], "");
    assert!(said.contains(" words ("), "{said}");
    let text = "メロスは激怒した。";
    let found = done(
        &folder,
        &["encode", japanese, text, "--no-special", "--json"],
        "",
    );
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(
        found["tokens"],
        json!(["メロス", "は", "激怒", "し", "た", "。"])
    );
    done(
        &folder,
        &["build-dictionary", sources, "--out", "here/words"],
        "",
    );
    let same = ["cache/ipadic.morphemes", "here/words"]
        .map(|name| fs::read(folder.path().join(name)).unwrap());
    assert!(same[0] == same[1], "equal sources, equal dictionaries");
    done(
        &folder,
        &["encode", japanese, text, "--dictionary", "here/words"],
        "",
    );
    fs::write(folder.path().join("novel.txt"), format!("{text}{text}\n")).unwrap();
    let train = [
        "train",
        "--kind",
        "morpheme",
        "--vocabulary",
        "50",
        "--sentence-end",
        "。",
        "--data",
        "novel.txt",
        "--out",
        "ja",
    ];
    done(&folder, &train, "");
    let found = done(&folder, &["encode", "ja", "メロスは", "--no-special"], "");
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = TempDir::new().unwrap();
    let error = refused(&folder, &["encode", "nowhere", "x"], 5);
    assert!(error.contains("nowhere"), "{error}");
    let error = refused(&folder, &["encode", ".", "x"], 5);
    assert!(error.contains("no tokeniser found"), "{error}");
    let bpe = root("fixtures/tokenizers/bpe");
    let error = refused(&folder, &["decode", bpe.to_str().unwrap(), "99999"], 2);
    assert!(error.contains("a number from 0 to"), "{error}");
    refused(&folder, &["train", "--kind", "bpe", "--out", "x"], 2);
    refused(
        &folder,
        &["train", "--kind", "nonsense", "--data", "x", "--out", "x"],
        2,
    );
    refused(
        &folder,
        &["train", "--kind", "bpe", "--data", "x.txt", "--out", "x"],
        5,
    );
    let error = refused(&folder, &["build-dictionary", "."], 5);
    assert!(error.contains("holds no .csv"), "{error}");
}
