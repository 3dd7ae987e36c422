//! Writing models as transformers writes them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::array::{Array, FloatType};
use super::checkpoint::{CONFIG, INDEX, WEIGHTS};
use super::config;
use super::file::{self, PYTORCH};
use super::format::{Architecture, Head};
use crate::atomic::NewFolder;
use crate::error::{Error, Result};

/// The size that files are split at: 5 GB, as the Hub recommends.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// A model to be written.
#[derive(Debug, Clone)]
pub struct Model<'a> {
    /// Its class.
    pub architecture: Architecture,
    /// Fields of `config.json`; the rest is completed.
    pub config: Value,
    /// Its tensors by canonical name; copies of tied ones are left out whether given or not.
    pub tensors: BTreeMap<String, Array<'a>>,
    /// Files that go beside it (a tokeniser's): path in the folder, and content.
    pub companions: Vec<(String, Vec<u8>)>,
}

/// How a model is written.
#[derive(Debug, Clone)]
pub struct SaveOptions {
    /// Element type of the floats; `None`: as they are.
    pub dtype: Option<FloatType>,
    /// Files above this are split; a larger tensor has a file of its own.
    pub max_shard_bytes: u64,
    /// Names without the model's prefix; `None`: as transformers writes this class.
    pub bare: Option<bool>,
    /// Names as the first releases had them: `gamma` and `beta`.
    pub legacy_names: bool,
}

impl Default for SaveOptions {
    fn default() -> Self {
        SaveOptions {
            dtype: None,
            max_shard_bytes: MAX_SHARD_BYTES,
            bare: None,
            legacy_names: false,
        }
    }
}

/// Writes a model folder at `target`, in place of any older one; it appears whole or not at all.
///
/// # Errors
/// As [`write()`], and what renaming reports.
pub fn save(target: &Path, model: &Model, options: &SaveOptions) -> Result<()> {
    let folder = NewFolder::begin(target)?;
    write(&folder, model, options)?;
    folder.commit()
}

/// Writes a model's files into a folder that is being made: `config.json`, `model.safetensors` or
/// shards with their index, `generation_config.json` for a model that generates, and the companions.
///
/// # Errors
/// [`Error::Folder`] where the tensors are not those of the architecture and configuration, or have
/// numbers that the element type cannot hold; [`Error::Io`], [`Error::DiskFull`].
pub fn write(folder: &NewFolder, model: &Model, options: &SaveOptions) -> Result<()> {
    let architecture = model.architecture;
    let tensors = tensors_of(model, options.dtype, folder.target())?;
    let dtype_of = |array: &Array| options.dtype.unwrap_or(array.float_type());
    let types = tensors.iter().map(|(_, a)| (a.elements(), dtype_of(a)));
    let main_type = types.max().map_or(FloatType::F32, |(_, dtype)| dtype);
    let config = if architecture.format.is_own() {
        model.config.clone()
    } else {
        config::complete(&model.config, architecture, main_type)
    };
    folder.file(CONFIG, |out| out.write_all(&config::text(&config)))?;

    let bare = options.bare.unwrap_or(architecture.is_bare());
    let format = architecture.format;
    let tensors: Vec<(String, &Array)> = (tensors.into_iter())
        .map(|(name, array)| (format.spelled(name, bare, options.legacy_names), array))
        .collect();
    let metadata = if format.is_own() { None } else { PYTORCH };
    write_weights(folder, &tensors, options, metadata)?;

    const GENERATION: &str = "generation_config.json";
    let generates = architecture.head() == Head::CausalLm;
    if generates && !model.companions.iter().any(|(name, _)| name == GENERATION) {
        let generation = config::generation(&config);
        folder.file(GENERATION, |out| out.write_all(&config::text(&generation)))?;
    }
    for (name, content) in &model.companions {
        // It would say how to generate with a class that does not.
        if name != GENERATION || generates {
            folder.file(name, |out| out.write_all(content))?;
        }
    }
    Ok(())
}

/// The tensors to write, in transformers' order, checked against the architecture and the type to
/// write them in.
fn tensors_of<'m, 'a>(
    model: &'m Model<'a>,
    dtype: Option<FloatType>,
    target: &Path,
) -> Result<Vec<(&'m str, &'m Array<'a>)>> {
    let class = model.architecture.name();
    let bad = |problem: String| {
        Error::folder(target, format!("cannot be written as a {class}: {problem}"))
    };
    let layout = model.architecture.layout(&model.config, target)?;
    let mut tensors = Vec::with_capacity(layout.tensors.len());
    for (name, shape) in &layout.tensors {
        let (name, array) = (model.tensors.get_key_value(name)).ok_or_else(|| {
            bad(format!(
                "the model has no '{name}'; write it as the class that it is"
            ))
        })?;
        if array.shape() != shape {
            return Err(bad(format!(
                "'{name}' has shape {:?}, its configuration says {shape:?}",
                array.shape()
            )));
        }
        let lost = array.too_large_for(dtype.unwrap_or(array.float_type()));
        if let Some(dtype) = dtype.filter(|_| lost > 0) {
            return Err(bad(format!(
                "{lost} of the {} numbers of '{name}' are too large for {}, which would have \
                 infinity instead; choose another element type (bf16 and f32 reach 3e38)",
                array.elements(),
                dtype.torch_name()
            )));
        }
        tensors.push((name.as_str(), array));
    }
    if model.architecture.format.is_own() {
        tensors.sort_unstable_by_key(|(name, _)| *name);
    }
    let tied = model.architecture.format.tied;
    for name in model.tensors.keys() {
        let copy = tied.iter().any(|(copy, _)| copy == name);
        if !copy && layout.shape(name).is_none() {
            return Err(bad(format!("it has no tensor '{name}'; leave that out")));
        }
    }
    Ok(tensors)
}

fn write_weights(
    folder: &NewFolder,
    tensors: &[(String, &Array)],
    options: &SaveOptions,
    metadata: Option<&str>,
) -> Result<()> {
    let bytes_of = |array: &Array| {
        let dtype = options.dtype.unwrap_or(array.float_type());
        array.elements() as u64 * dtype.size() as u64
    };
    let sizes: Vec<u64> = tensors.iter().map(|(_, array)| bytes_of(array)).collect();
    let shards = split(&sizes, options.max_shard_bytes);
    if let [_] = shards[..] {
        return folder.file(WEIGHTS, |out| {
            file::write(out, tensors, options.dtype, metadata)
        });
    }
    let mut map = Map::new();
    for (n, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", n + 1, shards.len());
        let part: Vec<_> = shard.iter().map(|&at| tensors[at].clone()).collect();
        for (tensor, _) in &part {
            map.insert(tensor.clone(), name.clone().into());
        }
        folder.file(&name, |out| {
            file::write(out, &part, options.dtype, metadata)
        })?;
    }
    let parameters: usize = tensors.iter().map(|(_, array)| array.elements()).sum();
    let index = json!({
        "metadata": { "total_parameters": parameters, "total_size": sizes.iter().sum::<u64>() },
        "weight_map": map,
    });
    let text = config::text(&config::sorted(&index));
    folder.file(INDEX, |out| out.write_all(&text))
}

/// Which tensors share a file, as huggingface_hub splits: in order, a new file where the next tensor
/// would exceed `limit`, a file of its own for one that exceeds it alone.
fn split(sizes: &[u64], limit: u64) -> Vec<Vec<usize>> {
    let mut shards: Vec<Vec<usize>> = Vec::new();
    let mut current = Vec::new();
    let mut bytes = 0;
    for (at, &size) in sizes.iter().enumerate() {
        if size > limit {
            shards.push(vec![at]);
            continue;
        }
        if bytes + size > limit {
            shards.push(std::mem::take(&mut current));
            bytes = 0;
        }
        current.push(at);
        bytes += size;
    }
    if !current.is_empty() || shards.is_empty() {
        shards.push(current);
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn files_are_split_as_huggingface_hub_does() {
        // The example of its documentation: 6, 6, 2, 6, 2, 2 GB at 10 GB.
        assert_eq!(
            split(&[6, 6, 2, 6, 2, 2], 10),
            [vec![0], vec![1, 2], vec![3, 4, 5]]
        );
        // One that is too large by itself comes before those that were collected so far.
        assert_eq!(split(&[2, 12, 3], 10), [vec![1], vec![0, 2]]);
        assert_eq!(split(&[5, 5], 10), [vec![0, 1]]);
        assert_eq!(split(&[], 10), [Vec::<usize>::new()]);
    }
}
