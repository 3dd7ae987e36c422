//! One safetensors file, mapped into memory: checked once, read tensor by tensor.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::array::{Array, FloatType};
use crate::bounded;
use crate::error::{Error, Result};

/// What transformers wants to find in a file's metadata.
pub(super) const PYTORCH: Option<&str> = Some("pt");

/// Bytes of a file's header, which names each tensor: room for some 300,000.
const HEADER: u64 = 32 << 20;
const DAMAGED: &str = "it is truncated, damaged or no safetensors file: copy it again";

/// A safetensors file.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    /// Where the tensors' bytes begin.
    start: usize,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens a file and checks its header: that it is JSON, that the tensors lie in the file without
    /// gap or overlap, and that each has the bytes its shape needs.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`], or [`Error::TensorFile`] saying what is wrong.
    pub fn open(path: &Path) -> Result<TensorFile> {
        let file = bounded::open(path)?;
        // SAFETY: model files are replaced as a whole, by renaming (melos, transformers and PEFT do
        // so), which leaves this mapping on the old file; nobody writes into one that is in use.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::read(path, e))?;
        check_header(&map, path)?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| Error::TensorFile {
                file: path.to_path_buf(),
                tensor: match &e {
                    SafeTensorError::InvalidOffset(name) => Some(name.clone()),
                    _ => None,
                },
                problem: explain(&e, map.len()),
            })?;
        Ok(TensorFile {
            path: path.to_path_buf(),
            map,
            start: header + 8,
            metadata,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// dtype and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        let info = self.metadata.info(name)?;
        Some((info.dtype, &info.shape))
    }

    /// What is wrong with a tensor.
    pub(super) fn bad(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::TensorFile {
            file: self.path.clone(),
            tensor: Some(name.to_string()),
            problem: problem.into(),
        }
    }

    /// A tensor's type, shape and bytes.
    ///
    /// # Errors
    /// [`Error::TensorFile`] where it is not there.
    pub(super) fn stored(&self, name: &str) -> Result<(Dtype, &[usize], &[u8])> {
        let info = self.metadata.info(name);
        let info = info.ok_or_else(|| self.bad(name, "is not in the file"))?;
        let (start, end) = info.data_offsets;
        let bytes = self.map.get(self.start + start..self.start + end);
        let bytes = bytes.ok_or_else(|| self.bad(name, "lies outside the file; copy it again"))?;
        Ok((info.dtype, &info.shape, bytes))
    }

    /// A tensor of floats, not yet converted.
    ///
    /// # Errors
    /// [`Error::TensorFile`] where it is not there or holds other numbers.
    pub fn array(&self, name: &str) -> Result<Array<'_>> {
        let (dtype, shape, bytes) = self.stored(name)?;
        // A count, such as that of the batches which a batch norm has seen.
        if let (Dtype::I64, [], Ok(count)) = (dtype, shape, <[u8; 8]>::try_from(bytes)) {
            return Ok(Array::whole(&[], vec![i64::from_le_bytes(count) as f32]));
        }
        let float = FloatType::of(dtype).ok_or_else(|| {
            let problem = format!("holds {dtype:?}; weights are read from F32, F16 and BF16");
            self.bad(name, problem)
        })?;
        Ok(Array::stored(shape, float, bytes))
    }
}

/// Refuses a header that is longer than any model's before it is parsed, which takes many times its
/// length.
fn check_header(bytes: &[u8], path: &Path) -> Result<()> {
    let length = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    // What is longer than the file is not parsed in any case.
    if length <= HEADER || length > bytes.len() as u64 {
        return Ok(());
    }
    Err(Error::TensorFile {
        file: path.to_path_buf(),
        tensor: None,
        problem: format!(
            "its header claims {length} bytes, more than the {} MiB that any model needs; {DAMAGED}",
            HEADER >> 20
        ),
    })
}

fn explain(error: &SafeTensorError, length: usize) -> String {
    use SafeTensorError as E;
    let problem = match error {
        E::HeaderTooSmall => format!("{length} bytes are too few for a safetensors file"),
        E::HeaderTooLarge => {
            "its header claims more than the 100 MB that the format allows".to_string()
        }
        E::InvalidHeaderLength => {
            format!("its header claims more bytes than the file's {length}")
        }
        E::InvalidHeader(_) | E::InvalidHeaderDeserialization(_) | E::JsonError(_) => {
            format!("its header cannot be read ({error})")
        }
        E::InvalidOffset(_) => "overlaps its neighbour or leaves a gap".to_string(),
        E::MetadataIncompleteBuffer => {
            "its header describes more or fewer bytes than the file has".to_string()
        }
        E::TensorInvalidInfo | E::ValidationOverflow | E::MisalignedSlice => {
            format!("a tensor's shape does not fit its bytes ({error})")
        }
        _ => error.to_string(),
    };
    format!("{problem}; {DAMAGED}")
}

/// Writes tensors as the safetensors library does, byte for byte: wider types first, then by name,
/// with the metadata `format`, if any (transformers asks for `pt`). Converts one at a time.
///
/// # Errors
/// Whatever `out` reports.
pub fn write(
    out: &mut dyn Write,
    tensors: &[(String, &Array)],
    dtype: Option<FloatType>,
    format: Option<&str>,
) -> io::Result<()> {
    let type_of = |array: &Array| dtype.unwrap_or(array.float_type());
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by(|(a, x), (b, y)| {
        let widest_first = type_of(y).dtype().cmp(&type_of(x).dtype());
        widest_first.then_with(|| a.cmp(b))
    });
    let mut end = 0;
    let entries = order.iter().map(|(name, array)| {
        let start = end;
        end += array.elements() * type_of(array).size();
        let info = TensorInfo {
            dtype: type_of(array).dtype(),
            shape: array.shape().to_vec(),
            data_offsets: (start, end),
        };
        (name.clone(), info)
    });
    let format = format.map(|of| HashMap::from([("format".to_string(), of.to_string())]));
    let metadata = Metadata::new(format, entries.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, array) in order {
        out.write_all(&array.bytes(type_of(array)))?;
    }
    Ok(())
}
