//! What is read has bounds: of all that lies on a disk only regular files are opened (a pipe or a device
//! may never end), and none is taken into memory that is larger than any of its kind. The limits are far
//! beyond what is real; they end what is damaged, or made to harm, before it fills the memory.

#![cfg_attr(not(feature = "train"), allow(dead_code))]

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use serde::de::{DeserializeOwned, Error as _};

use crate::error::{Error, Result, panic_message};

/// Bytes of a file of settings: JSON, TOML, sums.
pub(crate) const SETTINGS: u64 = 64 << 20;
/// Bytes of a tokeniser's file.
pub(crate) const TOKENIZER: u64 = 512 << 20;
/// Bytes of a text that is one: a line, a row, a file of a folder or an archive.
pub(crate) const TEXT: u64 = 256 << 20;
/// Bytes of what grows as long as a run goes on, and of a dictionary.
pub(crate) const LARGE: u64 = 4 << 30;
/// Values of a JSON text: each takes dozens of bytes in memory, however short it is.
const VALUES: usize = 1 << 22;
/// Token ids: every one is smaller.
pub const TOKENS: usize = 1 << 24;

/// What a path is that is neither a file nor a folder, in words.
pub(crate) fn special(path: &Path) -> Option<&'static str> {
    let kind = path.metadata().ok()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
    }
    Some("a special file")
}

/// Opens a file to be read, if it is a regular one.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`]; [`Error::Folder`] for a folder, a pipe, a device.
pub(crate) fn open(path: &Path) -> Result<File> {
    if path.is_dir() {
        return Err(Error::folder(path, "is a folder; a file is needed here"));
    }
    // Before it is opened: a pipe would wait for somebody to write.
    refuse_special(path)?;
    File::open(path).map_err(|e| Error::read(path, e))
}

/// Refuses what is there and neither a file nor a folder.
///
/// # Errors
/// [`Error::Folder`].
pub(crate) fn refuse_special(path: &Path) -> Result<()> {
    let Some(what) = special(path) else {
        return Ok(());
    };
    let problem = format!("is {what} and no file; save what it gives to a file and name that");
    Err(Error::folder(path, problem))
}

/// All of a file of at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`Error::Folder`] for a larger file.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata().map_err(|e| Error::read(path, e))?.len();
    // Some that are made as they are read say that they are empty.
    let mut bytes = Vec::with_capacity(length.min(most) as usize);
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::read(path, e))?;
    if bytes.len() as u64 > most {
        return Err(too_long(path, most));
    }
    Ok(bytes)
}

/// As [`read`]; `None` where there is no such file.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_if_there(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    match read(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::FileMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`read`], for text.
///
/// # Errors
/// As [`read`]; [`Error::Io`] for what is not UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String> {
    let bytes = read(path, most)?;
    String::from_utf8(bytes)
        .map_err(|e| Error::read(path, io::Error::new(io::ErrorKind::InvalidData, e)))
}

/// What is too long to be read as a whole.
pub(crate) fn too_long(path: &Path, most: u64) -> Error {
    let most = most >> 20;
    let problem =
        format!("is longer than {most} MiB, which is more than is read as one; cut it up");
    Error::folder(path, problem)
}

/// What a JSON text says.
///
/// # Errors
/// Those of the parser, which goes 128 levels deep; too many values.
pub(crate) fn json<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    if values(text) > VALUES {
        let message = format!("it has more than {VALUES} values");
        return Err(serde_json::Error::custom(message));
    }
    serde_json::from_slice(text)
}

/// At least as many values as a JSON text has: one begins it, others stand behind what separates and
/// opens.
fn values(text: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

/// What a call into a library gives, or the message that it panicked with: some panic at files that are
/// not as they wrote them, and wgpu has no other way to tell of some failures of drivers.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panic_message(&*panic))
}

/// How much a [`Metered`] reader may still give.
#[derive(Clone, Default)]
pub(crate) struct Allowance(Rc<Cell<u64>>);

impl Allowance {
    /// Sets what may be given from now on.
    pub(crate) fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }

    /// Whether all has been given.
    pub(crate) fn is_used_up(&self) -> bool {
        self.0.get() == 0
    }
}

/// A reader that fails behind what it is allowed to give. Whoever hands it to a parser that gathers
/// things of any length, renews the allowance for each of them.
pub(crate) struct Metered<R> {
    inner: R,
    allowance: Allowance,
    /// A byte that counts as more, since more is kept of it.
    heavy: Option<(u8, u64)>,
}

impl<R: Read> Metered<R> {
    pub(crate) fn new(inner: R, allowance: &Allowance, heavy: Option<(u8, u64)>) -> Self {
        let allowance = allowance.clone();
        Self {
            inner,
            allowance,
            heavy,
        }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.allowance.is_used_up() {
            let message = "one thing in it is longer than any of its kind";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let count = self.inner.read(buffer)?;
        let weight = self.heavy.map_or(0, |(heavy, weight)| {
            let those = buffer[..count].iter().filter(|byte| **byte == heavy);
            those.count() as u64 * weight
        });
        let left = self.allowance.0.get();
        let left = left.saturating_sub(count as u64).saturating_sub(weight);
        self.allowance.set(left);
        Ok(count)
    }
}
