//! Models in several files, with an index that says which tensor stands in which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::checkpoint::read_json;
use super::file::TensorFile;
use super::torch::TorchFile;
use crate::error::{Error, Result};

/// A file of a sharded model.
pub(super) trait Shard: Sized {
    fn open(path: &Path) -> Result<Self>;
    fn names(&self) -> Vec<String>;
}

impl Shard for TensorFile {
    fn open(path: &Path) -> Result<Self> {
        TensorFile::open(path)
    }

    fn names(&self) -> Vec<String> {
        TensorFile::names(self)
    }
}

impl Shard for TorchFile {
    fn open(path: &Path) -> Result<Self> {
        TorchFile::open(path)
    }

    fn names(&self) -> Vec<String> {
        TorchFile::names(self)
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files of a sharded model.
///
/// # Errors
/// [`Error::Folder`] for an index that is damaged, names what is no file of its folder or one that is not there;
/// [`Error::TensorFile`] for one that it does not describe.
pub(super) fn open_shards<F: Shard>(folder: &Path, index: &str) -> Result<Vec<F>> {
    let path = folder.join(index);
    let bad = |problem: String| Error::folder(&path, problem);
    let what = "is not the index of a sharded model";
    let index: Index = serde_json::from_value(read_json(&path)?)
        .map_err(|e| bad(format!("{what}: {e}; copy it again")))?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    let mut files = Vec::new();
    for name in &names {
        let name = name.as_str();
        // A plain name, so that an index cannot lead out of its folder.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(bad(format!(
                "names '{name}', which is no file of this folder"
            )));
        }
        let shard = folder.join(name);
        if !shard.exists() {
            return Err(bad(format!(
                "names the shard '{name}', which is not there; copy all {} of them",
                names.len()
            )));
        }
        let file = F::open(&shard)?;
        let own: BTreeSet<String> = file.names().into_iter().collect();
        let disagrees = |tensor: &str, problem: &str| Error::TensorFile {
            file: shard.clone(),
            tensor: Some(tensor.to_string()),
            problem: format!(
                "{problem}; index and shards belong to different models: copy them again"
            ),
        };
        let mapped = index.weight_map.iter().filter(|(_, shard)| *shard == name);
        if let Some((tensor, _)) = mapped.into_iter().find(|(t, _)| !own.contains(*t)) {
            let problem = "is not in the shard that the index names for it";
            return Err(disagrees(tensor, problem));
        }
        let elsewhere = |t: &String| index.weight_map.get(t).is_none_or(|shard| shard != name);
        if let Some(tensor) = own.into_iter().find(elsewhere) {
            let problem = "is in a shard that the index does not name for it";
            return Err(disagrees(&tensor, problem));
        }
        files.push(file);
    }
    Ok(files)
}
