//! Files of PyTorch's `torch.save`: `.pth`, `.pt`, `pytorch_model.bin`. They are programs; nothing of one is run
//! here, and what is no tensor is refused or passed over.
//!
//! Today's are zip archives: `NAME/data.pkl`, a pickle, and the numbers of each storage in `NAME/data/KEY`. Those
//! of before PyTorch 1.6 are four pickles (a number, a version, the machine, the object), the list of keys, and
//! the storages with their lengths one after the other.

mod pickle;
mod value;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::Dtype;
use zip::{CompressionMethod, ZipArchive};

use super::array::{Array, FloatType};
use crate::bounded;
use crate::error::{Error, Result};
use pickle::Pickle;
use value::{Element, Stored, Value};

/// Bytes of a pickle: it has names and shapes, no numbers.
const PICKLE: u64 = 64 << 20;
/// How a zip archive begins, and how a file of before there were some does: two bytes of protocol, then a number
/// of ten.
const ZIP: &[u8] = b"PK\x03\x04";
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Under which a training script's checkpoint has the model, beside its optimiser and what else it likes.
const MODELS: [&str; 5] = ["state_dict", "model_state_dict", "model", "module", "net"];
/// What stands before all names of a model that several devices trained.
const PARALLEL: &str = "module.";

/// A file of PyTorch.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    map: Mmap,
    tensors: BTreeMap<String, Placed>,
}

/// A tensor, and where its storage lies.
#[derive(Debug)]
struct Placed {
    stored: Stored,
    /// Bytes of the file.
    bytes: Range<usize>,
}

/// Whether a file begins as PyTorch's do.
pub fn is_torch(path: &Path) -> bool {
    let mut start = [0; 16];
    let Ok(mut file) = bounded::open(path) else {
        return false;
    };
    // No file of tensors is as short.
    let whole = file.read_exact(&mut start).is_ok();
    whole && (start.starts_with(ZIP) || start.starts_with(LEGACY))
}

impl TorchFile {
    /// Opens a file, and checks that every tensor lies in it.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`]; [`Error::TensorFile`] saying what is wrong, or what other than
    /// tensors the file asks for.
    pub fn open(path: &Path) -> Result<TorchFile> {
        let file = bounded::open(path)?;
        // SAFETY: as of safetensors: model files are replaced as a whole, and nobody writes into one in use.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::read(path, e))?;
        let wrong = |problem: String| Error::TensorFile {
            file: path.to_path_buf(),
            tensor: None,
            problem,
        };
        let (pickle, storages) = if map.starts_with(ZIP) {
            of_zip(&map).map_err(wrong)?
        } else if map.starts_with(LEGACY) {
            of_legacy(&map).map_err(wrong)?
        } else {
            let problem = "is no file of PyTorch; copy it again";
            return Err(wrong(problem.into()));
        };
        let mut tensors = BTreeMap::new();
        for (name, stored) in model(&pickle).map_err(wrong)? {
            let placed = place(&stored, &storages).map_err(|problem| Error::TensorFile {
                file: path.to_path_buf(),
                tensor: Some(name.clone()),
                problem,
            })?;
            tensors.insert(
                name,
                Placed {
                    stored,
                    bytes: placed,
                },
            );
        }
        Ok(TorchFile {
            path: path.to_path_buf(),
            map,
            tensors,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, in order.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// dtype and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        let stored = &self.tensors.get(name)?.stored;
        let dtype = match stored.storage.element {
            Element::F64 => Dtype::F64,
            Element::F32 => Dtype::F32,
            Element::F16 => Dtype::F16,
            Element::Bf16 => Dtype::BF16,
            Element::I64 => Dtype::I64,
            Element::I32 => Dtype::I32,
            Element::I16 => Dtype::I16,
            Element::I8 => Dtype::I8,
            Element::U8 => Dtype::U8,
            Element::Bool => Dtype::BOOL,
        };
        Some((dtype, &stored.shape))
    }

    fn bad(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::TensorFile {
            file: self.path.clone(),
            tensor: Some(name.to_string()),
            problem: problem.into(),
        }
    }

    /// A tensor of floats, not yet converted where it lies row by row; of f64 rounded to f32.
    ///
    /// # Errors
    /// [`Error::TensorFile`] where it is not there or holds other numbers.
    pub fn array(&self, name: &str) -> Result<Array<'_>> {
        let placed = self.tensors.get(name);
        let placed = placed.ok_or_else(|| self.bad(name, "is not in the file"))?;
        let stored = &placed.stored;
        let bytes = self.map.get(placed.bytes.clone());
        let bytes = bytes.ok_or_else(|| self.bad(name, "lies outside the file; copy it again"))?;
        let float = match stored.storage.element {
            Element::F32 => Some(FloatType::F32),
            Element::F16 => Some(FloatType::F16),
            Element::Bf16 => Some(FloatType::Bf16),
            Element::F64 => None,
            other => {
                let problem =
                    format!("holds {other:?}; weights are read from F64, F32, F16 and BF16");
                return Err(self.bad(name, problem));
            }
        };
        let size = stored.storage.element.size();
        let rows = gathered(stored, bytes, size);
        Ok(match (float, rows) {
            (Some(float), Cow::Borrowed(rows)) => Array::stored(&stored.shape, float, rows),
            (Some(float), Cow::Owned(rows)) => Array::whole(&stored.shape, float.decode(&rows)),
            (None, rows) => {
                let numbers = rows.as_chunks::<8>().0.iter();
                let numbers = numbers.map(|&b| f64::from_le_bytes(b) as f32);
                Array::whole(&stored.shape, numbers.collect())
            }
        })
    }
}

/// A tensor's bytes row by row, from those of its storage.
fn gathered<'a>(stored: &Stored, bytes: &'a [u8], size: usize) -> Cow<'a, [u8]> {
    let count: usize = stored.shape.iter().product();
    let start = stored.offset * size;
    let mut wanted = 1;
    let contiguous = stored
        .shape
        .iter()
        .zip(&stored.strides)
        .rev()
        .all(|(&n, &stride)| {
            let is = n <= 1 || stride == wanted;
            wanted *= n;
            is
        });
    if contiguous || count == 0 {
        let end = start + count * size;
        return Cow::Borrowed(bytes.get(start..end).unwrap_or_default());
    }
    let mut rows = Vec::with_capacity(count * size);
    let mut at = vec![0; stored.shape.len()];
    for _ in 0..count {
        let steps = at.iter().zip(&stored.strides).map(|(n, stride)| n * stride);
        let from = start + steps.sum::<usize>() * size;
        rows.extend_from_slice(bytes.get(from..from + size).unwrap_or_default());
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < stored.shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    Cow::Owned(rows)
}

/// Bytes of the file by the keys of storages.
type Storages = HashMap<String, Range<usize>>;

/// Where a tensor's storage lies, if all that the tensor has lies in it.
fn place(stored: &Stored, storages: &Storages) -> Result<Range<usize>, String> {
    let storage = &stored.storage;
    let bytes = storages.get(&storage.key);
    let bytes = bytes.ok_or("has numbers that the file lacks; copy it again")?;
    let size = storage.element.size();
    let outside = "reaches beyond its numbers; copy it again";
    let whole = storage.count.checked_mul(size).ok_or(outside)?;
    if whole > bytes.len() {
        return Err(format!(
            "needs {whole} bytes, and the file has {} of them; copy it again",
            bytes.len()
        ));
    }
    let product = |n: usize, &size: &usize| n.checked_mul(size);
    let count = stored.shape.iter().try_fold(1, product).ok_or(outside)?;
    if count == 0 {
        return Ok(bytes.clone());
    }
    // One number shown many times would fill the memory.
    if count > storage.count {
        return Err(format!(
            "shows {count} numbers of {}, some of them again; save a copy (.contiguous())",
            storage.count
        ));
    }
    let reach = |last: usize, (&n, &stride): (&usize, &usize)| {
        last.checked_add((n - 1).checked_mul(stride)?)
    };
    let mut axes = stored.shape.iter().zip(&stored.strides);
    let last = axes.try_fold(stored.offset, reach).ok_or(outside)?;
    match last < storage.count {
        true => Ok(bytes.clone()),
        false => Err(outside.into()),
    }
}

/// The tensors of a model by their names: of a state_dict, or of a checkpoint that has one.
fn model(pickle: &Pickle) -> Result<Vec<(String, Stored)>, String> {
    let tensors = |id| {
        let own = pickle
            .entries(id)
            .filter_map(|(name, id)| match pickle.get(id) {
                Value::Tensor(stored) => Some((name.to_string(), stored.clone())),
                _ => None,
            });
        own.collect::<Vec<_>>()
    };
    let mut found = tensors(pickle.top);
    if found.is_empty() {
        let inner = MODELS.iter().find_map(|wanted| {
            let mut entries = pickle.entries(pickle.top);
            let (_, id) = entries.find(|(name, _)| name == wanted)?;
            Some(tensors(id)).filter(|found| !found.is_empty())
        });
        found = inner.ok_or("has no tensors by their names; save the model's state_dict()")?;
    }
    if found.iter().all(|(name, _)| name.starts_with(PARALLEL)) {
        for (name, _) in &mut found {
            name.drain(..PARALLEL.len());
        }
    }
    Ok(found)
}

fn of_zip(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    let damaged = |e: zip::result::ZipError| format!("is a damaged archive ({e}); copy it again");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let (mut storages, mut pickled) = (Storages::new(), None);
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let Some((_, inner)) = name.split_once('/') else {
            continue;
        };
        let key = inner.strip_prefix("data/");
        if inner != "data.pkl" && inner != "byteorder" && key.is_none() {
            continue;
        }
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!(
                "has '{name}' compressed or encrypted, which torch.save never does; save it again"
            ));
        }
        let range = entry.data_start().and_then(|start| {
            let end = start.checked_add(entry.size())?;
            let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
            (range.end <= bytes.len()).then_some(range)
        });
        let range = range.ok_or_else(|| format!("ends before '{name}' does; copy it again"))?;
        match (inner, key) {
            (_, Some(key)) => {
                storages.insert(key.to_string(), range);
            }
            ("byteorder", _) if &bytes[range.clone()] == b"big" => {
                return Err(
                    "has its numbers in big-endian order; save it on another machine".into(),
                );
            }
            ("data.pkl", _) if range.len() as u64 > PICKLE => {
                return Err(format!(
                    "has a list of tensors of {} bytes, more than any model's; copy it again",
                    range.len()
                ));
            }
            ("data.pkl", _) => pickled = Some(range),
            _ => {}
        }
    }
    let pickled = pickled.ok_or(
        "is a zip archive without a data.pkl, and so not of torch.save (a TorchScript program is not read here)",
    )?;
    Ok((pickle::read(&bytes[pickled])?, storages))
}

fn of_legacy(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    let mut at = 0;
    let mut next = || -> Result<Pickle, String> {
        let rest = &bytes[at..];
        let rest = &rest[..rest.len().min(PICKLE as usize)];
        let pickle = pickle::read(rest)?;
        at += pickle.length;
        Ok(pickle)
    };
    for _ in 0..3 {
        next()?;
    }
    let (object, keys) = (next()?, next()?);
    let Value::List(list) = keys.get(keys.top) else {
        return Err("lacks the list of its numbers; copy it again".into());
    };
    let elements = elements(&object);
    let mut storages = Storages::new();
    for id in list {
        let Value::Text(key) = keys.get(*id) else {
            return Err("is damaged: its numbers have no names".into());
        };
        let short = || format!("ends before its numbers '{key}' do; copy it again");
        let count = bytes.get(at..at + 8).and_then(|b| b.first_chunk::<8>());
        let count = u64::from_le_bytes(*count.ok_or_else(short)?);
        let size = elements.get(key.as_str()).copied().unwrap_or(1);
        let start = at + 8;
        let length = usize::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(size));
        let end = length.and_then(|length| start.checked_add(length));
        let end = end.filter(|end| *end <= bytes.len()).ok_or_else(short)?;
        storages.insert(key.clone(), start..end);
        at = end;
    }
    Ok((object, storages))
}

/// Bytes of a number of each storage.
fn elements(pickle: &Pickle) -> HashMap<&str, usize> {
    let storages = pickle.values().filter_map(|value| match value {
        Value::Storage(storage) => Some((storage.key.as_str(), storage.element.size())),
        _ => None,
    });
    storages.collect()
}
