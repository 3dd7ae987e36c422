//! A unit's state on disk: its tensors as safetensors, the rest as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::spent::Spent;
use crate::error::{Error, Result};
use crate::hub::{self, Array, TensorFile};

/// Named f32 tensors in main memory, ordered by name.
pub type TensorMap = BTreeMap<String, Array<'static>>;

/// Writes tensors in the safetensors format.
///
/// # Errors
/// Whatever `out` reports.
pub fn write_tensors(out: &mut dyn Write, tensors: &TensorMap) -> io::Result<()> {
    let named: Vec<(String, &Array)> = tensors.iter().map(|(n, a)| (n.clone(), a)).collect();
    hub::write_tensors(out, &named, None, None)
}

/// Reads a safetensors file of f32 tensors.
///
/// # Errors
/// [`Error::Io`], or [`Error::TensorFile`] naming the tensor and what is wrong with it. No
/// allocation is larger than the file itself.
pub fn read_tensors(path: &Path) -> Result<TensorMap> {
    let file = TensorFile::open(path)?;
    let read = |name: String| {
        if let Some((dtype, _)) = file.info(&name)
            && dtype != Dtype::F32
        {
            return Err(Error::TensorFile {
                file: path.to_path_buf(),
                problem: format!(
                    "expected F32, found {dtype:?}; the file belongs to another model"
                ),
                tensor: Some(name),
            });
        }
        let array = file.array(&name)?.into_owned();
        Ok((name, array))
    };
    file.names().into_iter().map(read).collect()
}

/// Checks that `tensors` holds exactly the tensors of `expected`: names and shapes.
///
/// # Errors
/// [`Error::TensorFile`] naming the first tensor that is missing, unexpected or different.
pub fn check_tensors<'a>(
    tensors: &TensorMap,
    expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    file: &Path,
) -> Result<()> {
    let bad = |tensor: &str, problem: String| Error::TensorFile {
        file: file.to_path_buf(),
        tensor: Some(tensor.to_string()),
        problem: format!("{problem}; the file belongs to another model"),
    };
    let mut known = BTreeSet::new();
    for (name, shape) in expected {
        known.insert(name);
        let found = tensors.get(name);
        let found = found.ok_or_else(|| bad(name, "is missing".into()))?.shape();
        if found != shape {
            return Err(bad(
                name,
                format!("expected shape {shape:?}, found {found:?}"),
            ));
        }
    }
    match tensors.keys().find(|name| !known.contains(name.as_str())) {
        Some(name) => Err(bad(name, "is unexpected".into())),
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
    /// Where they went.
    #[serde(default)]
    pub spent: Spent,
    /// The unit's seed.
    pub seed: u64,
    /// Whether the evaluation that is due after `step` has been done.
    pub evaluated: bool,
    /// Best validation score so far and its step, whose checkpoint is the best; lower is better.
    pub best: Option<(f32, u64)>,
    /// What decided between it and one of the same score, lower is better.
    #[serde(default)]
    pub tie: f32,
    /// Evaluations since that were no better.
    #[serde(default)]
    pub since_best: u64,
    /// The last known losses, for the message of a run that resumes.
    pub loss: Option<f32>,
    /// The task's data position.
    pub position: serde_json::Value,
    /// Whether the checkpoint carries digests. Those of earlier versions do not.
    #[serde(default)]
    pub sealed: bool,
}
