//! Standard output and standard error.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;

use serde::Serialize;

use crate::error::{Error, Result};

/// Standard output, once nobody else writes there.
static RESULTS: OnceLock<File> = OnceLock::new();

/// Keeps standard output for results: what libraries and drivers write there goes to standard error
/// from now on. Where the system has no such way, all stays as it is.
pub fn keep_for_results() {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        if let Ok(own) = io::stdout().as_fd().try_clone_to_owned()
            && rustix::stdio::dup2_stdout(io::stderr()).is_ok()
        {
            let _ = RESULTS.set(own.into());
        }
    }
}

/// Standard output, as results are written to it.
pub fn results() -> Box<dyn Write> {
    match RESULTS.get() {
        Some(own) => Box::new(io::LineWriter::new(own)),
        None => Box::new(io::stdout()),
    }
}

/// Writes to standard output. A reader that has left (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = results();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "standard output", e))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON object as a line.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|e| Error::io("write", "standard output", e.into()))?;
    print(&(text + "\n"))
}

/// Writes a value as one JSON object where that is asked for, else as text.
pub fn show(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if json {
        print_json(value)
    } else {
        print(&text())
    }
}

/// Writes a line to standard error, come what may.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says what went wrong: one line, and its causes below it.
pub fn report(error: &Error) {
    let mut text = format!("melos: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &format!("\n  because: {inner}");
        cause = inner.source();
    }
    note(&text);
}
