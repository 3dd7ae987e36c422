//! Tensors on disk: a safetensors reader and writer that believe nothing a file says.
//!
//! Format: 8 bytes of header length (little-endian), a JSON header `{name: {dtype, shape,
//! data_offsets}}`, then the bytes. Offsets count from the header's end and must cover the rest
//! of the file without gap or overlap.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Named tensors in main memory, ordered by name.
pub type TensorMap = BTreeMap<String, HostTensor>;

/// Longest header that is read: the limit of the safetensors library.
const MAX_HEADER: u64 = 100_000_000;

/// Element types of a [`HostTensor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum HostDtype {
    U8,
    I32,
    U32,
    I64,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

impl HostDtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

impl fmt::Display for HostDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One tensor in main memory: row-major, little-endian bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTensor {
    /// Element type.
    pub dtype: HostDtype,
    /// Shape; empty for a single number.
    pub shape: Vec<usize>,
    /// `shape.product() * dtype.size()` bytes.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// An f32 tensor; `values` must hold as many numbers as `shape` says.
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self {
            dtype: HostDtype::F32,
            shape: shape.to_vec(),
            bytes,
        }
    }

    /// A u32 tensor; `values` must hold as many numbers as `shape` says.
    pub fn u32(shape: &[usize], values: &[u32]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self {
            dtype: HostDtype::U32,
            shape: shape.to_vec(),
            bytes,
        }
    }

    /// The numbers of an f32 tensor; `None` for any other dtype.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        (self.dtype == HostDtype::F32).then(|| self.words().map(f32::from_le_bytes).collect())
    }

    /// The numbers of a u32 tensor; `None` for any other dtype.
    pub fn to_u32(&self) -> Option<Vec<u32>> {
        (self.dtype == HostDtype::U32).then(|| self.words().map(u32::from_le_bytes).collect())
    }

    fn words(&self) -> impl Iterator<Item = [u8; 4]> {
        self.bytes.as_chunks::<4>().0.iter().copied()
    }

    /// The first f32 that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<f32> {
        if self.dtype != HostDtype::F32 {
            return None;
        }
        self.words()
            .map(f32::from_le_bytes)
            .find(|x| !x.is_finite())
    }
}

/// One entry of the header. Serialised in this order, as the safetensors library does.
#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Writes tensors in the safetensors format.
///
/// # Errors
/// Whatever `out` reports.
pub fn write_tensors(out: &mut dyn Write, tensors: &TensorMap) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    // Readers that map the file want aligned tensors: widest elements first, then by name.
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, t)| std::cmp::Reverse(t.dtype.size()));
    let mut end = 0u64;
    for (name, tensor) in &order {
        let start = end;
        end += tensor.bytes.len() as u64;
        let entry = Entry {
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.iter().map(|&n| n as u64).collect(),
            data_offsets: (start, end),
        };
        header.insert(name.to_string(), serde_json::to_value(entry)?);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (_, tensor) in order {
        out.write_all(&tensor.bytes)?;
    }
    Ok(())
}

/// Reads a safetensors file.
///
/// # Errors
/// [`Error::Io`], or [`Error::TensorFile`] naming the tensor and what is wrong with it. No
/// allocation is larger than the file itself.
pub fn read_tensors(path: &Path) -> Result<TensorMap> {
    let mut file = std::fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
    let length = file
        .metadata()
        .map_err(|e| Error::io("read", path, e))?
        .len();
    read_from(&mut file, length, path)
}

fn read_from(file: &mut dyn Read, length: u64, path: &Path) -> Result<TensorMap> {
    let bad = |tensor: Option<&str>, problem: String| Error::TensorFile {
        file: path.to_path_buf(),
        tensor: tensor.map(String::from),
        problem,
    };
    let mut fill = |buffer: &mut [u8]| {
        file.read_exact(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                bad(None, "the file ends too early; copy it again".into())
            }
            _ => Error::io("read", path, e),
        })
    };
    if length < 8 {
        return Err(bad(
            None,
            format!(
                "{length} bytes are too few for a safetensors file; it is truncated or no such file"
            ),
        ));
    }
    let mut prefix = [0; 8];
    fill(&mut prefix)?;
    let header_length = u64::from_le_bytes(prefix);
    let body = length - 8;
    if header_length > MAX_HEADER || header_length > body {
        return Err(bad(
            None,
            format!(
                "its header claims {header_length} bytes where {body} follow; it is truncated or no safetensors file"
            ),
        ));
    }
    let data_length = body - header_length;
    let mut header = vec![0; header_length as usize];
    fill(&mut header)?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&header)
        .map_err(|e| bad(None, format!("its header is not a JSON object: {e}")))?;

    let mut entries = Vec::with_capacity(header.len());
    for (name, value) in header {
        if name == "__metadata__" {
            continue;
        }
        let entry: Entry = serde_json::from_value(value)
            .map_err(|e| bad(Some(&name), format!("its header entry is malformed: {e}")))?;
        let (dtype, shape) = check_entry(&entry, data_length).map_err(|p| bad(Some(&name), p))?;
        entries.push((entry.data_offsets, name, dtype, shape));
    }
    entries.sort_by_key(|(offsets, ..)| *offsets);

    let mut tensors = TensorMap::new();
    let mut at = 0;
    for ((start, end), name, dtype, shape) in entries {
        if start != at {
            let what = if start < at {
                "overlaps the tensor before it"
            } else {
                "leaves a gap before it"
            };
            return Err(bad(
                Some(&name),
                format!("{what}: it starts at byte {start}, expected {at}"),
            ));
        }
        at = end;
        let mut bytes = vec![0; (end - start) as usize];
        fill(&mut bytes)?;
        tensors.insert(
            name,
            HostTensor {
                dtype,
                shape,
                bytes,
            },
        );
    }
    if at != data_length {
        return Err(bad(
            None,
            format!("{} bytes at its end belong to no tensor", data_length - at),
        ));
    }
    Ok(tensors)
}

/// Checks what one header entry says on its own: dtype, shape, and that its bytes exist.
fn check_entry(entry: &Entry, data_length: u64) -> Result<(HostDtype, Vec<usize>), String> {
    let dtype: HostDtype = serde_json::from_value(entry.dtype.clone().into())
        .map_err(|_| format!("dtype '{}' is not supported", entry.dtype))?;
    let (start, end) = entry.data_offsets;
    if start > end || end > data_length {
        return Err(format!(
            "bytes {start}..{end} lie outside the {data_length} bytes of data"
        ));
    }
    let elements = entry.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let needed = elements.and_then(|n| n.checked_mul(dtype.size() as u64));
    if needed != Some(end - start) {
        let needed = needed.map_or("more than 2^64".to_string(), |n| n.to_string());
        return Err(format!(
            "{dtype} of shape {:?} needs {needed} bytes, its header gives {}",
            entry.shape,
            end - start
        ));
    }
    // Each dimension of a tensor without elements may still be larger than this machine's usize.
    let shape: Option<Vec<usize>> = entry
        .shape
        .iter()
        .map(|&d| usize::try_from(d).ok())
        .collect();
    Ok((
        dtype,
        shape.ok_or("its shape is too large for this machine")?,
    ))
}

/// Checks that `tensors` holds exactly the tensors of `expected`: names, dtypes and shapes.
///
/// # Errors
/// [`Error::TensorFile`] naming the first tensor that is missing, unexpected or different.
pub fn check_tensors<'a>(
    tensors: &TensorMap,
    expected: impl IntoIterator<Item = (&'a str, HostDtype, &'a [usize])>,
    file: &Path,
) -> Result<()> {
    let bad = |tensor: &str, problem: String| Error::TensorFile {
        file: file.to_path_buf(),
        tensor: Some(tensor.to_string()),
        problem,
    };
    let mut known = std::collections::BTreeSet::new();
    for (name, dtype, shape) in expected {
        known.insert(name);
        let found = tensors
            .get(name)
            .ok_or_else(|| bad(name, "is missing; the file belongs to another model".into()))?;
        if found.dtype != dtype || found.shape != shape {
            return Err(bad(
                name,
                format!(
                    "expected {dtype} of shape {shape:?}, found {} of shape {:?}; the file belongs to another model",
                    found.dtype, found.shape
                ),
            ));
        }
    }
    match tensors.keys().find(|name| !known.contains(name.as_str())) {
        Some(name) => Err(bad(
            name,
            "is unexpected; the file belongs to another model".into(),
        )),
        None => Ok(()),
    }
}

/// `trainer.json` of a checkpoint: all that is needed, besides the tensors, to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Unit name, so that a checkpoint cannot be resumed as another unit.
    pub unit: String,
    /// Steps done.
    pub step: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Seconds spent in training steps.
    pub train_seconds: f64,
    /// Seconds spent in all.
    pub seconds: f64,
    /// The unit's seed.
    pub seed: u64,
    /// Whether the evaluation that is due after `step` has been done.
    pub evaluated: bool,
    /// Best validation score so far and its step; lower is better. An f32, because it survives
    /// JSON to the bit.
    pub best: Option<(f32, u64)>,
    /// The last known losses, for the message of a run that resumes.
    pub loss: Option<f32>,
    /// The task's data position.
    pub position: serde_json::Value,
}
