//! The tokenised copy of a corpus on disk.
//!
//! ```text
//! 64 bytes   magic "MELOSTOK", version u32, 0 u32, tokens u64, docs u64, meta bytes u64, words u64, zeros
//! 4 * tokens ids u32, padded with zeros to a multiple of 8
//! 8 * (docs + 1)  offsets u64     8 * docs  middles u64    8 * words continues u64, a bit a token
//! 4 * docs  labels i32            4 * docs  splits u32
//! meta       JSON: the key and the names of the labels
//! 32 bytes   sha256 of everything between the header and here, then of the header
//! ```
//! Numbers are in the machine's byte order: the copy belongs to the machine that made it.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::corpus::{Sink, Source, Split, hex};
use super::documents::{Documents, Index, Tokens, tokenise_into};
use super::tokenizer::Tokenizer;
use crate::atomic::{self, NewFile, NewFolder};
use crate::bounded;
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"MELOSTOK";
/// Raised with every change of the layout or of what the readers yield.
const VERSION: u32 = 6;
const SPLITS: [Option<Split>; 5] = [
    None,
    Some(Split::Train),
    Some(Split::Validation),
    Some(Split::Test),
    Some(Split::Unsup),
];

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Header {
    magic: [u8; 8],
    version: u32,
    zero: u32,
    tokens: u64,
    docs: u64,
    meta: u64,
    /// Words of 64 bits that say which tokens continue a word: none, or enough for all tokens.
    words: u64,
    rest: [u64; 2],
}

const HEADER: usize = size_of::<Header>();
const DIGEST: usize = 32;

#[derive(Serialize, Deserialize)]
struct Meta {
    key: String,
    label_names: Vec<String>,
}

/// What the copy depends on, in one hash.
pub(super) fn key(sources: &[Source], tokenizer: &Tokenizer) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(VERSION.to_le_bytes());
    hasher.update(tokenizer.hash());
    for source in sources {
        add_source(&mut hasher, source)?;
    }
    Ok(hex(&hasher.finalize()))
}

/// The text that a source yields: where the file lies does not matter, how it is read does.
pub(super) fn add_source(hasher: &mut Sha256, source: &Source) -> Result<()> {
    hasher.update(source.content_hash()?);
    let how = Source {
        path: Default::default(),
        format: Some(source.resolve_format()?),
        ..source.clone()
    };
    hasher.update(serde_json::to_vec(&how).unwrap_or_default());
    Ok(())
}

/// Maps the copy with this key, or makes it from what `read` yields.
pub(super) fn load_or_build(
    folder: &Path,
    key: &str,
    tokenizer: &Tokenizer,
    read: impl FnOnce(&mut Sink) -> Result<()>,
) -> Result<Documents> {
    let path = folder.join(format!("{}.tokens", &key[..16]));
    if path.exists() {
        match open(&path, key)? {
            Some((tokens, index)) => return Ok(Documents::new(tokens, index, true)),
            None => log::warn!(
                "'{}' is damaged or out of date; making it anew",
                path.display()
            ),
        }
    }
    prepare(folder)?;
    let failed = |e| Error::write(&path, e);
    let mut file = Hashed {
        file: NewFile::begin(&path).map_err(failed)?,
        hasher: Sha256::new(),
    };
    file.file.write_all(&[0; HEADER]).map_err(failed)?;
    let mut write = |ids: &[u32]| file.put(bytemuck::cast_slice(ids)).map_err(failed);
    let index = tokenise_into(tokenizer, read, &mut write)?;
    let meta = Meta {
        key: key.into(),
        label_names: index.label_names.clone(),
    };
    finish(file, &index, &meta).map_err(failed)?;
    match open(&path, key)? {
        Some((tokens, index)) => Ok(Documents::new(tokens, index, false)),
        None => Err(failed(io::Error::other(
            "the file changed while it was being written",
        ))),
    }
}

/// The tokeniser kept as `folder`, opened by `open`; where there is none, or a damaged one, what `make`
/// gives, written by `write` and kept.
pub(super) fn tokenizer(
    folder: &Path,
    open: impl Fn(&Path) -> Result<Tokenizer>,
    make: impl FnOnce() -> Result<Tokenizer>,
    write: impl FnOnce(&Tokenizer, &Path) -> Result<()>,
) -> Result<Tokenizer> {
    if folder.exists() {
        match atomic::check_seal(folder).and_then(|()| open(folder)) {
            Ok(tokenizer) => return Ok(tokenizer),
            Err(error) => log::warn!("{error}; making it anew"),
        }
        // Unless another process has done so.
        if let Err(error) = atomic::remove_folder(folder)
            && folder.exists()
        {
            return Err(error);
        }
    }
    log::info!("training the tokeniser");
    let tokenizer = make()?;
    prepare(folder.parent().unwrap_or(Path::new(".")))?;
    let new = NewFolder::begin(folder)?;
    write(&tokenizer, new.path())?;
    new.seal()?;
    new.commit_unless_there()?;
    open(folder)
}

/// Makes the cache folder, or clears what kills left in it.
fn prepare(cache: &Path) -> Result<()> {
    std::fs::create_dir_all(cache).map_err(|e| Error::write(cache, e))?;
    atomic::clear(cache);
    Ok(())
}

struct Hashed {
    file: NewFile,
    hasher: Sha256,
}

impl Hashed {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

fn finish(mut file: Hashed, index: &Index, meta: &Meta) -> io::Result<()> {
    let meta = serde_json::to_vec(meta)?;
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        tokens: index.offsets.last().copied().unwrap_or(0),
        docs: index.labels.len() as u64,
        meta: meta.len() as u64,
        words: index.continues.len() as u64,
        ..Header::default()
    };
    file.put(&[0u8; 4][..(header.tokens % 2 * 4) as usize])?;
    file.put(bytemuck::cast_slice(&index.offsets))?;
    file.put(bytemuck::cast_slice(&index.middles))?;
    file.put(bytemuck::cast_slice(&index.continues))?;
    file.put(bytemuck::cast_slice(&index.labels))?;
    let number = |split| SPLITS.iter().position(|s| s == split).unwrap_or(0) as u32;
    let splits: Vec<u32> = index.splits.iter().map(number).collect();
    file.put(bytemuck::cast_slice(&splits))?;
    file.put(&meta)?;
    file.hasher.update(bytemuck::bytes_of(&header));
    file.file.write_all(&file.hasher.finalize())?;
    file.file.seek(SeekFrom::Start(0))?;
    file.file.write_all(bytemuck::bytes_of(&header))?;
    file.file.commit()
}

/// `None` when the file is not a whole, undamaged copy with this key.
fn open(path: &Path, key: &str) -> Result<Option<(Tokens, Index)>> {
    let file = bounded::open(path)?;
    if file.metadata().map_err(|e| Error::read(path, e))?.len() < (HEADER + DIGEST) as u64 {
        return Ok(None);
    }
    // SAFETY: the file is only ever replaced as a whole, by renaming a new one over it, which
    // leaves this mapping on the old one. Nobody writes into it while it is mapped.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::read(path, e))?;
    Ok(parse(&map, key).map(|(start, count, index)| (Tokens::Mapped { map, start, count }, index)))
}

fn parse(bytes: &[u8], key: &str) -> Option<(usize, usize, Index)> {
    let (header_bytes, rest) = bytes.split_at_checked(HEADER)?;
    let (payload, digest) = rest.split_at_checked(rest.len().checked_sub(DIGEST)?)?;
    let header: Header = bytemuck::try_pod_read_unaligned(header_bytes).ok()?;
    if header.magic != MAGIC || header.version != VERSION {
        return None;
    }
    if Sha256::new()
        .chain_update(payload)
        .chain_update(header_bytes)
        .finalize()[..]
        != *digest
    {
        return None;
    }
    let count = usize::try_from(header.tokens).ok()?;
    let docs = usize::try_from(header.docs).ok()?;
    let (_, rest) = payload.split_at_checked(count.checked_next_multiple_of(2)?.checked_mul(4)?)?;
    let (offsets, rest) = rest.split_at_checked(docs.checked_add(1)?.checked_mul(8)?)?;
    let (middles, rest) = rest.split_at_checked(docs.checked_mul(8)?)?;
    let words = usize::try_from(header.words).ok()?.checked_mul(8)?;
    let (continues, rest) = rest.split_at_checked(words)?;
    let (labels, rest) = rest.split_at_checked(docs * 4)?;
    let (splits, meta) = rest.split_at_checked(docs * 4)?;
    let meta: Meta = bounded::json(meta).ok()?;
    let splits: &[u32] = bytemuck::try_cast_slice(splits).ok()?;
    let index = Index {
        offsets: bytemuck::try_cast_slice(offsets).ok()?.to_vec(),
        middles: bytemuck::try_cast_slice(middles).ok()?.to_vec(),
        continues: bytemuck::try_cast_slice(continues).ok()?.to_vec(),
        labels: bytemuck::try_cast_slice(labels).ok()?.to_vec(),
        splits: splits
            .iter()
            .map(|&n| SPLITS.get(n as usize).copied())
            .collect::<Option<_>>()?,
        label_names: meta.label_names,
    };
    let inside = |(middle, range): (&u64, &[u64])| range[0] <= *middle && *middle <= range[1];
    let words = [0, count.div_ceil(64)].contains(&index.continues.len());
    let names = -1..index.label_names.len() as i32;
    let sound = index.offsets.is_sorted()
        && words
        && index.labels.iter().all(|label| names.contains(label))
        && index.offsets.last() == Some(&header.tokens)
        && index
            .middles
            .iter()
            .zip(index.offsets.windows(2))
            .all(inside);
    (sound && meta.key == key).then_some((HEADER, count, index))
}
