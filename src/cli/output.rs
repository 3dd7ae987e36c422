//! Standard output and standard error.

use std::error::Error as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

use super::readable;
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
/// A terminal gets it [readable](readable::escaped), a file or a pipe as it is.
pub fn print(text: &str) -> Result<()> {
    let mut out = results();
    let terminal = RESULTS
        .get()
        .map_or_else(|| io::stdout().is_terminal(), File::is_terminal);
    let shown = if terminal {
        readable::escaped(text)
    } else {
        text.into()
    };
    match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
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

/// Writes a line to standard error, come what may, as it can be [read](readable::message).
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", readable::message(text));
}

/// Standard error, for others to write notes to.
#[derive(Debug)]
pub struct Notes;

impl Write for Notes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let shown = readable::message(&text);
        io::stderr()
            .write_all(shown.as_bytes())
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Says what went wrong: one line, and its causes below it.
pub fn report(error: &Error) {
    note(&format!("melos: {error}"));
    let mut cause = error.source();
    while let Some(inner) = cause {
        note(&format!("  because: {inner}"));
        cause = inner.source();
    }
}
