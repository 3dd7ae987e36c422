//! Writing GGUF files.

use crate::blocks::BlockType;
use std::io::{self, Write};

use super::file::{ALIGNMENT, DEFAULT_ALIGNMENT, MAGIC, VERSION};
use super::value::Kind;

/// A value of the metadata, to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Meta {
    /// u32.
    Whole(u32),
    /// f32.
    Real(f32),
    /// bool.
    Flag(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of i32.
    Wholes(Vec<i32>),
    /// A list of f32.
    Reals(Vec<f32>),
}

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    pub kind: BlockType,
}

impl Head {
    /// Bytes of its numbers.
    fn bytes(&self) -> io::Result<usize> {
        let elements = self.shape.iter().product();
        let bytes = self.kind.bytes_of(elements);
        bytes.ok_or_else(|| io::Error::other(format!("'{}' is no whole blocks", self.name)))
    }
}

/// Writes a file: its metadata, then the tensors, whose bytes `data` gives one after the other.
///
/// # Errors
/// Whatever `out` and `data` report.
pub(super) fn write(
    out: &mut dyn Write,
    metadata: &[(String, Meta)],
    tensors: &[Head],
    mut data: impl FnMut(&Head) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let mut header = Vec::new();
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    put_count(&mut header, tensors.len());
    put_count(&mut header, metadata.len());
    for (key, value) in metadata {
        debug_assert_ne!(key, ALIGNMENT);
        put_text(&mut header, key);
        put_value(&mut header, value);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_text(&mut header, &tensor.name);
        header.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
        for side in tensor.shape.iter().rev() {
            put_count(&mut header, *side);
        }
        // What GGUF does not have is refused before.
        let number = tensor.kind.number().unwrap_or(u32::MAX);
        header.extend_from_slice(&number.to_le_bytes());
        put_count(&mut header, offset);
        offset += tensor.bytes()?.next_multiple_of(DEFAULT_ALIGNMENT);
    }
    pad(&mut header);
    out.write_all(&header)?;
    for tensor in tensors {
        let mut bytes = data(tensor)?;
        if bytes.len() != tensor.bytes()? {
            let problem = format!("'{}' has not the bytes of its shape", tensor.name);
            return Err(io::Error::other(problem));
        }
        pad(&mut bytes);
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(DEFAULT_ALIGNMENT), 0);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u64).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_kind(out: &mut Vec<u8>, kind: Kind) {
    out.extend_from_slice(&kind.number().to_le_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Meta) {
    let list = |out: &mut Vec<u8>, kind: Kind, count: usize| {
        put_kind(out, Kind::List);
        put_kind(out, kind);
        put_count(out, count);
    };
    match value {
        Meta::Whole(n) => {
            put_kind(out, Kind::U32);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Meta::Real(x) => {
            put_kind(out, Kind::F32);
            out.extend_from_slice(&x.to_le_bytes());
        }
        Meta::Flag(flag) => {
            put_kind(out, Kind::Flag);
            out.push((*flag).into());
        }
        Meta::Text(text) => {
            put_kind(out, Kind::Text);
            put_text(out, text);
        }
        Meta::Texts(texts) => {
            list(out, Kind::Text, texts.len());
            texts.iter().for_each(|text| put_text(out, text));
        }
        Meta::Wholes(all) => {
            list(out, Kind::I32, all.len());
            all.iter()
                .for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        }
        Meta::Reals(all) => {
            list(out, Kind::F32, all.len());
            all.iter()
                .for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
        }
    }
}
