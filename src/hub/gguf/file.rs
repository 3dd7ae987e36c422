//! One GGUF file (version 2 or 3), mapped into memory: its header checked once, everything read where it
//! lies.
//!
//! ```text
//! "GGUF", u32 version, u64 tensors, u64 keys
//! keys     text name, u32 kind, value      a text is u64 bytes and UTF-8; a list u32 kind, u64 count, values
//! tensors  text name, u32 sides, u64 sides (the fastest first), u32 type, u64 offset
//! data     from the next multiple of general.alignment (32) on; a tensor's from its offset on
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::value::{Kind, Value};
use crate::blocks::BlockType;
use crate::bounded;
use crate::error::{Error, Result};

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// What is written.
pub(super) const VERSION: u32 = 3;
pub(super) const ALIGNMENT: &str = "general.alignment";
/// Where nothing says otherwise.
pub(super) const DEFAULT_ALIGNMENT: usize = 32;
/// Keys, and tensors, of a file: more than any has.
const ENTRIES: u64 = 1 << 16;
/// Sides of a tensor.
const SIDES: usize = 4;
/// Lists in lists.
const DEPTH: usize = 4;
const DAMAGED: &str = "it is truncated, damaged or no GGUF file: copy it again";

/// A GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    version: u32,
    keys: BTreeMap<String, Place>,
    tensors: BTreeMap<String, Stored>,
}

/// Where a value lies.
#[derive(Debug)]
struct Place {
    kind: Kind,
    start: usize,
    end: usize,
}

/// A tensor as it lies in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// How its numbers are packed.
    pub kind: BlockType,
    /// Its shape, row-major: the last side is the fastest.
    pub shape: Vec<usize>,
    start: usize,
    bytes: usize,
}

/// Reads on through a header; what is beyond its end is `None`.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn size(&mut self) -> Option<usize> {
        self.u64()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let count = self.size()?;
        self.take(count)
    }

    /// Passes over a value.
    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), &'static str> {
        const CUT: &str = "a value reaches beyond the file's end";
        if let Some(size) = kind.size() {
            return self.take(size).map(drop).ok_or(CUT);
        }
        if kind == Kind::Text {
            return self.text().map(drop).ok_or(CUT);
        }
        if depth == DEPTH {
            return Err("lists lie in lists, too many of them");
        }
        let item = self.u32().ok_or(CUT)?;
        let item = Kind::numbered(item).ok_or("a list holds values of an unknown kind")?;
        let count = self.size().ok_or(CUT)?;
        match item.size() {
            Some(size) => {
                let bytes = count.checked_mul(size).ok_or(CUT)?;
                self.take(bytes).map(drop).ok_or(CUT)
            }
            // Each takes 8 bytes at least, so that a false count ends at the file's end.
            None => (0..count).try_for_each(|_| self.skip(item, depth + 1)),
        }
    }
}

impl GgufFile {
    /// Opens a file and checks its header: every value and every tensor lies within the file, tensors do not
    /// overlap, no name stands twice. Nothing is copied but the names.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`], or [`Error::TensorFile`] saying what is wrong.
    pub fn open(path: &Path) -> Result<GgufFile> {
        let file = bounded::open(path)?;
        // SAFETY: model files are replaced as a whole, by renaming, which leaves this mapping on the old
        // file; nobody writes into one that is in use.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::read(path, e))?;
        let mut file = GgufFile {
            path: path.to_path_buf(),
            map,
            version: 0,
            keys: BTreeMap::new(),
            tensors: BTreeMap::new(),
        };
        file.read_header()?;
        file.check_overlaps()?;
        Ok(file)
    }

    fn read_header(&mut self) -> Result<()> {
        let cut = "its header reaches beyond its end";
        let bytes = &self.map[..];
        let mut cursor = Cursor { bytes, at: 0 };
        if cursor.take(4) != Some(MAGIC) {
            return Err(self.damaged("it does not begin as a GGUF file"));
        }
        let version = cursor.u32().ok_or_else(|| self.damaged(cut))?;
        match version {
            2 | 3 => {}
            1 => {
                return Err(self.bad("is of version 1; convert the model again with llama.cpp"));
            }
            v if v != 0 && v.swap_bytes() <= VERSION => {
                return Err(self.bad("is for machines of the other byte order; take the usual one"));
            }
            v => return Err(self.bad(format!("is of version {v}; versions 2 and 3 are read"))),
        }
        let counts = [cursor.u64(), cursor.u64()];
        let [Some(tensors), Some(keys)] = counts else {
            return Err(self.damaged(cut));
        };
        if tensors.max(keys) > ENTRIES {
            let problem = format!(
                "its header claims {tensors} tensors and {keys} keys; there are {ENTRIES} at most"
            );
            return Err(self.damaged(&problem));
        }
        let mut places = BTreeMap::new();
        for _ in 0..keys {
            let name = cursor.text().ok_or_else(|| self.damaged(cut))?;
            let name = self.name(name)?;
            let kind = cursor.u32().ok_or_else(|| self.damaged(cut))?;
            let kind = Kind::numbered(kind).ok_or_else(|| {
                self.damaged(&format!("'{name}' has a value of the unknown kind {kind}"))
            })?;
            let start = cursor.at;
            let skipped = cursor.skip(kind, 0);
            skipped.map_err(|problem| self.damaged(&format!("'{name}': {problem}")))?;
            if places.contains_key(&name) {
                return Err(self.damaged(&format!("'{name}' stands twice in its header")));
            }
            let end = cursor.at;
            places.insert(name, Place { kind, start, end });
        }
        let mut found: Vec<(String, Vec<usize>, u32, usize)> = Vec::new();
        for _ in 0..tensors {
            let name = cursor.text().ok_or_else(|| self.damaged(cut))?;
            let name = self.name(name)?;
            let sides = cursor.u32().ok_or_else(|| self.damaged(cut))? as usize;
            if sides > SIDES {
                let problem = format!("has {sides} sides; {SIDES} at most");
                return Err(self.tensor(&name, &problem));
            }
            let shape: Option<Vec<usize>> = (0..sides).map(|_| cursor.size()).collect();
            let (Some(mut shape), Some(kind), Some(offset)) = (shape, cursor.u32(), cursor.size())
            else {
                return Err(self.damaged(cut));
            };
            shape.reverse();
            found.push((name, shape, kind, offset));
        }
        let end = cursor.at;
        (self.version, self.keys) = (version, places);
        let alignment = self.alignment()?;
        let data = end.next_multiple_of(alignment);
        let mut stored = BTreeMap::new();
        for (name, shape, kind, offset) in found {
            let tensor = self.placed(&name, shape, kind, (data, offset, alignment))?;
            if stored.contains_key(&name) {
                return Err(self.tensor(&name, "stands twice in the header"));
            }
            stored.insert(name, tensor);
        }
        self.tensors = stored;
        Ok(())
    }

    fn placed(
        &self,
        name: &str,
        shape: Vec<usize>,
        kind: u32,
        (data, offset, alignment): (usize, usize, usize),
    ) -> Result<Stored> {
        let kind = BlockType::numbered(kind).map_err(|other| {
            let read = BlockType::all().filter(|kind| kind.number().is_some());
            let read: Vec<&str> = read.map(BlockType::name).collect();
            let problem = format!(
                "is packed as {other}, which is not read here; take a file of another kind: {}",
                read.join(", ")
            );
            self.tensor(name, &problem)
        })?;
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(kind.elements()) {
            let problem = format!(
                "has rows of {row} numbers, which are no whole blocks of {} ({})",
                kind.name(),
                kind.elements()
            );
            return Err(self.tensor(name, &problem));
        }
        if !offset.is_multiple_of(alignment) {
            let problem = format!("begins at {offset}, which is no multiple of {alignment}");
            return Err(self.tensor(name, &problem));
        }
        let elements = shape
            .iter()
            .try_fold(1usize, |n, &side| n.checked_mul(side));
        let bytes = elements.and_then(|n| kind.bytes_of(n));
        let start = data.checked_add(offset);
        let end = bytes.and_then(|bytes| start?.checked_add(bytes));
        match (start, bytes, end) {
            (Some(start), Some(bytes), Some(end)) if end <= self.map.len() => Ok(Stored {
                kind,
                shape,
                start,
                bytes,
            }),
            _ => {
                let problem = format!("of shape {shape:?} reaches beyond the file's end");
                Err(self.tensor(name, &problem))
            }
        }
    }

    fn check_overlaps(&self) -> Result<()> {
        let mut order: Vec<(&String, &Stored)> = self.tensors.iter().collect();
        order.sort_by_key(|(_, tensor)| (tensor.start, tensor.bytes));
        for pair in order.windows(2) {
            let [(before, a), (name, b)] = pair else {
                continue;
            };
            if a.start + a.bytes > b.start {
                return Err(self.tensor(name, &format!("overlaps '{before}'")));
            }
        }
        Ok(())
    }

    fn alignment(&self) -> Result<usize> {
        let alignment = self.whole(ALIGNMENT)?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            let problem = format!("{ALIGNMENT} is {alignment}, expected a power of two");
            return Err(self.damaged(&problem));
        }
        Ok(alignment)
    }

    fn name(&self, bytes: &[u8]) -> Result<String> {
        let name = std::str::from_utf8(bytes);
        name.map(str::to_string)
            .map_err(|_| self.damaged("a name in its header is not UTF-8"))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The names of its metadata, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// How a tensor lies in the file.
    pub fn tensor_info(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// A tensor's blocks, row after row, as they lie in the file.
    ///
    /// # Errors
    /// [`Error::TensorFile`] where it is not there.
    pub fn blocks(&self, name: &str) -> Result<(BlockType, &[u8])> {
        let tensor = self.tensors.get(name);
        let tensor = tensor.ok_or_else(|| self.tensor(name, "is not in the file"))?;
        let bytes = self.map.get(tensor.start..tensor.start + tensor.bytes);
        let bytes =
            bytes.ok_or_else(|| self.tensor(name, "lies outside the file; copy it again"))?;
        Ok((tensor.kind, bytes))
    }

    /// A value of the metadata.
    pub fn value(&self, key: &str) -> Option<Value<'_>> {
        let place = self.keys.get(key)?;
        Value::read(place.kind, self.map.get(place.start..place.end)?)
    }

    /// A value of the metadata, if it is there, of the kind that `read` takes.
    fn told<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.value(key) else {
            return match self.keys.contains_key(key) {
                true => Err(self.bad(format!("'{key}' is not UTF-8; {DAMAGED}"))),
                false => Ok(None),
            };
        };
        let found = read(&value);
        found.map(Some).ok_or_else(|| {
            let found = value.in_words();
            self.bad(format!(
                "'{key}' should be {expected}, found {found}; {DAMAGED}"
            ))
        })
    }

    /// A whole number that is no less than 0.
    ///
    /// # Errors
    /// [`Error::TensorFile`] for a value of another kind; likewise those below.
    pub fn whole(&self, key: &str) -> Result<Option<usize>> {
        self.told(key, "a whole number from 0 on", Value::whole)
    }

    /// A number.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn number(&self, key: &str) -> Result<Option<f32>> {
        self.told(key, "a number", Value::number)
    }

    /// Yes or no.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.told(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.told(key, "a text", |value| match value {
            Value::Text(text) => Some(*text),
            _ => None,
        })
    }

    /// A list of texts.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.told(key, "a list of texts", |value| match value {
            Value::List(list) => list.texts(),
            _ => None,
        })
    }

    /// A list of numbers.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.told(key, "a list of numbers", |value| match value {
            Value::List(list) => list.numbers(),
            _ => None,
        })
    }

    /// The error of a value that must be there.
    pub(super) fn lacks(&self, key: &str) -> Error {
        self.bad(format!(
            "has no '{key}', which its model needs; convert the model again"
        ))
    }

    /// That something is wrong with the file.
    pub(crate) fn bad(&self, problem: impl Into<String>) -> Error {
        Error::TensorFile {
            file: self.path.clone(),
            tensor: None,
            problem: problem.into(),
        }
    }

    fn damaged(&self, problem: &str) -> Error {
        self.bad(format!("{problem}; {DAMAGED}"))
    }

    pub(super) fn tensor(&self, name: &str, problem: &str) -> Error {
        Error::TensorFile {
            file: self.path.clone(),
            tensor: Some(name.to_string()),
            problem: problem.to_string(),
        }
    }
}
