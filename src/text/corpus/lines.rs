//! Opening files, gzipped or not, and reading them line by line with a place for every error.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use encoding_rs::WINDOWS_1252;
use flate2::read::MultiGzDecoder;

use super::decode::{self, Utf8};
use crate::bounded::{self, Allowance, Metered};
use crate::{Error, Result};

const BUFFER: usize = 1 << 18;
/// Bytes between the texts of an archive: their names, which may be long, and what fills up.
const BETWEEN: u64 = 1 << 20;

/// Opens a file of text, to be read as UTF-8.
pub(in crate::text) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let reader = Utf8::new(unpack(path)?).map_err(|e| Error::read(path, e))?;
    Ok(Box::new(reader))
}

/// Opens a file whose encoding is yet to be told.
pub(crate) fn open_bytes(path: &Path) -> Result<impl Read> {
    unpack(path)
}

/// What a file of text is read as.
pub(super) fn encoding(path: &Path) -> Result<&'static str> {
    let mut reader = unpack(path)?;
    let start = reader.fill_buf().map_err(|e| Error::read(path, e))?;
    Ok(decode::name(start))
}

/// Opens a file; gzip is told by its first two bytes, not by its name.
fn unpack(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = bounded::open(path)?;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let start = reader.fill_buf().map_err(|e| Error::read(path, e))?;
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Box::new(BufReader::with_capacity(
            BUFFER,
            MultiGzDecoder::new(reader),
        ))
    } else {
        Box::new(reader)
    })
}

/// Bytes around a bad one by which an encoding is guessed.
const AROUND: u64 = 1 << 20;

/// The error of text that is not UTF-8 at `offset`, with what its file looks like; `bytes` are some of its
/// text, for what is no file.
pub(super) fn not_utf8(path: &Path, line: u64, offset: u64, bytes: &[u8]) -> Error {
    let around = || {
        let mut reader = unpack(path).ok()?;
        let before = offset.saturating_sub(AROUND / 2);
        io::copy(&mut reader.by_ref().take(before), &mut io::sink()).ok()?;
        let mut around = Vec::new();
        reader.take(AROUND).read_to_end(&mut around).ok()?;
        (!around.is_empty()).then_some(around)
    };
    let around = around();
    Error::NotUtf8 {
        path: path.to_owned(),
        line,
        offset,
        remedy: decode::remedy(around.as_deref().unwrap_or(bytes)),
    }
}

/// The lines of a text, without their ends (LF or CR LF) and without a byte order mark.
pub(crate) struct Lines<R> {
    path: PathBuf,
    reader: Utf8<R>,
    buffer: Vec<u8>,
    /// Number of the last line read, from 1.
    pub(super) line: u64,
    offset: u64,
}

impl Lines<Box<dyn BufRead + Send>> {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::of(unpack(path)?, path)
    }
}

impl<R: BufRead> Lines<R> {
    /// The lines of what stands in errors under this name.
    pub(crate) fn of(reader: R, name: &Path) -> Result<Self> {
        Ok(Self {
            path: name.to_owned(),
            reader: Utf8::new(reader).map_err(|e| Error::read(name, e))?,
            buffer: Vec::new(),
            line: 0,
            offset: 0,
        })
    }

    pub(crate) fn next(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let mut reader = self.reader.by_ref().take(bounded::TEXT + 1);
        let length = reader
            .read_until(b'\n', &mut self.buffer)
            .map_err(|e| Error::read(&self.path, e))?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
        if length as u64 > bounded::TEXT {
            return Err(Error::MalformedRow {
                path: self.path.clone(),
                line: self.line,
                message: format!(
                    "is longer than {} MiB, as no text is; cut it into lines",
                    bounded::TEXT >> 20
                ),
            });
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|e| {
            let offset = self.offset + e.valid_up_to() as u64;
            not_utf8(&self.path, self.line, offset, &self.buffer)
        })?;
        self.offset += length as u64;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        Ok(Some(if self.line == 1 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        }))
    }
}

/// The whole of one text (a review, a book). `name` stands in the errors.
pub(super) fn read_text(reader: &mut dyn Read, name: &Path) -> Result<String> {
    let reader = Utf8::new(BufReader::new(reader)).map_err(|e| Error::read(name, e))?;
    let bytes = read_bytes(reader, name)?;
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let breaks = e.as_bytes()[..good].iter().filter(|&&b| b == b'\n').count();
        not_utf8(name, breaks as u64 + 1, good as u64, e.as_bytes())
    })
}

/// All that a reader gives, if it is no more than one text.
pub(crate) fn read_bytes(reader: impl Read, name: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = reader.take(bounded::TEXT + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|e| Error::read(name, e))?;
    if bytes.len() as u64 > bounded::TEXT {
        return Err(bounded::too_long(name, bounded::TEXT));
    }
    Ok(bytes)
}

/// The whole of one text of an older collection: UTF-8 where it is, else Windows-1252.
pub(super) fn read_any(reader: &mut dyn Read, name: &Path) -> Result<String> {
    let bytes = read_bytes(reader, name)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => WINDOWS_1252.decode(error.as_bytes()).0.into_owned(),
    })
}

/// The whole of a file on disk.
pub(super) fn read_file(path: &Path) -> Result<String> {
    read_text(&mut bounded::open(path)?, path)
}

/// The path itself when it is a file, else all files below it, sorted. A folder that links lead to
/// again, be it from within itself, counts once.
pub(crate) fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    let mut folders = BTreeSet::from([path.to_owned()]);
    // In order, so that the same one of two names counts everywhere.
    while let Some(folder) = folders.pop_first() {
        let failed = |e| Error::read(&folder, e);
        if !seen.insert(folder.canonicalize().map_err(failed)?) {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if entry.is_dir() {
                folders.insert(entry);
            } else {
                files.push(entry)
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Runs `visit` on the files of a tar archive, gzipped or not, in the archive's order, until it
/// returns false.
pub(crate) fn for_each_in_tar(
    path: &Path,
    visit: &mut dyn FnMut(&Path, &mut dyn Read) -> Result<bool>,
) -> Result<()> {
    let failed = |e| Error::read(path, e);
    let allowance = Allowance::default();
    allowance.set(BETWEEN);
    let mut archive = tar::Archive::new(Metered::new(unpack(path)?, &allowance, None));
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        if entry.size() > bounded::LARGE {
            return Err(bounded::too_long(&entry_name(path, &name), bounded::LARGE));
        }
        allowance.set(entry.size() + BETWEEN);
        if entry.header().entry_type().is_file() && !visit(&name, &mut entry)? {
            break;
        }
    }
    Ok(())
}

/// `archive: entry`, for errors.
pub(crate) fn entry_name(archive: &Path, entry: &Path) -> PathBuf {
    format!("{}: {}", archive.display(), entry.display()).into()
}
