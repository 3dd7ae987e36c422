//! What is read has a bound: files that lie about their sizes, never end or are no files are refused by
//! name, before they fill the memory.
#![cfg(feature = "train")]

mod claims;
mod texts;

#[cfg(unix)]
mod special;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use melos::{Error, Result};

/// The error of something that must end soon, with all these words in it.
fn refused<T>(what: impl FnOnce() -> Result<T> + Send + 'static, words: &[&str]) {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(what().map(drop)));
    let result = receive.recv_timeout(Duration::from_secs(60));
    let error = match result {
        Ok(Err(error)) => said(&error),
        Ok(Ok(())) => panic!("nothing was refused; expected {words:?}"),
        Err(_) => panic!("it goes on and on; expected {words:?}"),
    };
    for word in words {
        assert!(error.contains(word), "'{word}' is not in: {error}");
    }
}

/// An error with its causes.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!("; because {inner}");
        cause = inner.source();
    }
    text
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}
