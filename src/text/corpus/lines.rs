//! Opening files, gzipped or not, and reading them line by line with a place for every error.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::decode::{self, Utf8};
use crate::{Error, Result};

const BUFFER: usize = 1 << 18;

/// Opens a file of text, to be read as UTF-8.
pub(in crate::text) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let reader = Utf8::new(unpack(path)?).map_err(|e| Error::read(path, e))?;
    Ok(Box::new(reader))
}

/// What a file of text is read as.
pub(super) fn encoding(path: &Path) -> Result<&'static str> {
    let mut reader = unpack(path)?;
    let start = reader.fill_buf().map_err(|e| Error::read(path, e))?;
    Ok(decode::name(start))
}

/// Opens a file; gzip is told by its first two bytes, not by its name.
fn unpack(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(|e| Error::read(path, e))?;
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
        let length = self
            .reader
            .read_until(b'\n', &mut self.buffer)
            .map_err(|e| Error::read(&self.path, e))?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
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

/// The whole of one small file (a review) as text. `name` stands in the errors.
pub(super) fn read_text(reader: &mut dyn Read, name: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    Utf8::new(BufReader::new(reader))
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(|e| Error::read(name, e))?;
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let breaks = e.as_bytes()[..good].iter().filter(|&&b| b == b'\n').count();
        not_utf8(name, breaks as u64 + 1, good as u64, e.as_bytes())
    })
}

/// The whole of a file on disk.
pub(super) fn read_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::read(path, e))?;
    read_text(&mut file, path)
}

/// The path itself when it is a file, else all files below it, sorted.
pub(super) fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::read(&folder, e))? {
            let entry = entry.map_err(|e| Error::read(&folder, e))?.path();
            if entry.is_dir() {
                folders.push(entry)
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
pub(super) fn for_each_in_tar(
    path: &Path,
    visit: &mut dyn FnMut(&Path, &mut dyn Read) -> Result<bool>,
) -> Result<()> {
    let mut archive = tar::Archive::new(unpack(path)?);
    for entry in archive.entries().map_err(|e| Error::read(path, e))? {
        let mut entry = entry.map_err(|e| Error::read(path, e))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(|e| Error::read(path, e))?.into_owned();
        if !visit(&name, &mut entry)? {
            break;
        }
    }
    Ok(())
}

/// `archive: entry`, for errors.
pub(super) fn entry_name(archive: &Path, entry: &Path) -> PathBuf {
    format!("{}: {}", archive.display(), entry.display()).into()
}
