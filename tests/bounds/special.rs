//! Pipes, devices and sockets in the place of files, and folders that lead into themselves.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use melos::text::corpus::{self, Example};
use melos::text::tokenizer::morphemes::{Dictionary, build_dictionary};
use melos::text::{Format, Source, Tokenizer, WordVectors};
use melos::train::artifacts::checkpoints::Checkpoints;
use melos::train::{Overrides, RunConfig};
use tempfile::TempDir;

use crate::{fixture, refused};

fn pipe(path: &Path) {
    let done = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(done.success());
}

fn texts(source: &Source) -> melos::Result<Vec<String>> {
    let mut texts = Vec::new();
    corpus::read(source, &mut |example: Example| {
        texts.push(example.text);
        Ok(())
    })?;
    Ok(texts)
}

#[test]
fn data_are_regular_files() {
    let folder = TempDir::new().unwrap();
    for name in [
        "a.txt", "a.csv", "a.tsv", "a.jsonl", "a.txt.gz", "a.tar", "a.tokens",
    ] {
        let path = folder.path().join(name);
        pipe(&path);
        refused(
            move || texts(&Source::unlabelled(path)),
            &[name, "is a pipe"],
        );
    }
    for format in [Format::Txt, Format::Csv, Format::Jsonl, Format::Whole] {
        let mut source = Source::unlabelled("/dev/zero");
        source.format = Some(format);
        refused(move || texts(&source), &["/dev/zero", "is a device"]);
    }
    let path = folder.path().join("b.txt");
    let _open = UnixListener::bind(&path).unwrap();
    refused(
        move || texts(&Source::unlabelled(path)),
        &["b.txt", "is a socket"],
    );
    let path = folder.path().join("tagged.jsonl");
    pipe(&path);
    refused(
        move || corpus::read_tagged(&Source::new(&path)),
        &["tagged.jsonl", "is a pipe"],
    );
}

#[test]
fn a_pipe_among_the_texts_of_a_folder_is_named() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.txt"), "a text").unwrap();
    pipe(&folder.path().join("b.txt"));
    let source = Source::unlabelled(folder.path());
    let again = source.clone();
    refused(move || texts(&source), &["b.txt", "is a pipe"]);
    refused(move || again.content_hash(), &["b.txt", "is a pipe"]);
}

#[test]
fn folders_that_lead_into_themselves_are_read_once() {
    let folder = TempDir::new().unwrap();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("a.txt"), "one").unwrap();
    fs::write(folder.path().join("b.txt"), "two").unwrap();
    symlink(folder.path(), below.join("up")).unwrap();
    symlink(&below, folder.path().join("beside")).unwrap();
    // Links to a folder of links, twice each: as many paths as there are combinations.
    let mut last = below;
    for level in 0..30 {
        let next = folder.path().join(format!("level{level}"));
        fs::create_dir(&next).unwrap();
        symlink(&last, next.join("left")).unwrap();
        symlink(&last, next.join("right")).unwrap();
        last = next;
    }
    let found = texts(&Source::unlabelled(folder.path())).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    // A link to a folder elsewhere is part of the data as ever.
    let elsewhere = TempDir::new().unwrap();
    fs::write(elsewhere.path().join("c.txt"), "three").unwrap();
    symlink(elsewhere.path(), folder.path().join("elsewhere")).unwrap();
    assert_eq!(texts(&Source::unlabelled(folder.path())).unwrap().len(), 3);
}

/// A folder with the files of a fixture, one of which is a pipe.
fn with_pipe(of: &str, name: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(of)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(name);
    let _ = fs::remove_file(&path);
    pipe(&path);
    let path = folder.path().to_path_buf();
    (folder, path)
}

#[test]
fn files_of_models_are_regular() {
    for name in ["config.json", "model.safetensors"] {
        let (_keep, folder) = with_pipe("hf/bert_mlm", name);
        refused(move || melos::models::open(&folder), &[name, "is a pipe"]);
    }
    for name in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "labels.json",
    ] {
        let (_keep, folder) = with_pipe("hf/bert_lora", name);
        let read = move || melos::hub::adapter::read(&folder);
        refused(read, &[name, "is a pipe"]);
    }
    for name in [
        "vocab.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "tokenizer.json",
    ] {
        let (_keep, folder) = with_pipe("tokenizers/gaps", name);
        if name == "vocab.txt" {
            let _ = fs::remove_file(folder.join("tokenizer.json"));
        }
        refused(move || Tokenizer::open(folder), &[name, "is a pipe"]);
    }
}

#[test]
fn other_files_are_regular() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run.toml");
    pipe(&path);
    refused(
        move || RunConfig::read(&path, &Overrides::default()),
        &["run.toml", "is a pipe"],
    );
    let tokenizer = Tokenizer::train_on(["a text a text"], &Default::default()).unwrap();
    refused(
        move || WordVectors::read("/dev/zero", &tokenizer),
        &["/dev/zero", "is a device"],
    );
    refused(|| Dictionary::open("/dev/zero"), &["is a device"]);
    let (_keep, sources) = with_pipe("tokenizers/ipadic", "matrix.def");
    let out = sources.join("out");
    refused(
        move || build_dictionary(&sources, &out),
        &["matrix.def", "is a pipe"],
    );
    let checkpoint = folder.path().join("checkpoint-1");
    fs::create_dir(&checkpoint).unwrap();
    pipe(&checkpoint.join("trainer.json"));
    refused(
        move || Checkpoints::load(&checkpoint),
        &["checkpoint-1", "is a pipe"],
    );
}
