//! Files of texts as people have them.
#![cfg(feature = "train")]

mod classes;
mod long;
mod published;
mod reading;
mod tables;

use std::fs;
use std::path::PathBuf;

use melos::Result;
use melos::text::corpus::{Example, Source, read};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn all(source: &Source) -> Result<Vec<(String, Option<String>)>> {
    let mut examples = Vec::new();
    read(source, &mut |example: Example| {
        examples.push((example.text, example.label));
        Ok(())
    })?;
    Ok(examples)
}

fn texts(source: &Source) -> Vec<String> {
    let examples = all(source).unwrap().into_iter();
    examples.map(|(text, _)| text).collect()
}
