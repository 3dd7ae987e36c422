//! Trained models as files: a Hugging Face folder, or a PEFT adapter's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::adapter::Adapter;
use super::network::Network;
use super::start::Started;
use crate::error::{Error, Result};
use crate::hub::{self, Architecture, Array};
use crate::train::state::TensorMap;
use crate::train::task::ModelFiles;
use crate::train::tasks::data::Data;
use crate::train::tasks::engine::Engine;

/// What PEFT has no place for in an adapter's folder.
#[derive(Debug, Serialize, Deserialize)]
struct Labels {
    labels: Vec<String>,
}

const LABELS: &str = "labels.json";

/// The names of the outputs of an adapter's head, where its folder has them.
///
/// # Errors
/// [`Error::Io`], [`Error::Folder`] for a damaged file.
pub fn read_labels(folder: &Path) -> Result<Option<Vec<String>>> {
    let path = folder.join(LABELS);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
    let labels: Labels = serde_json::from_str(&text).map_err(|e| Error::Folder {
        path,
        problem: format!("is damaged: {e}; delete it, and labels go by their numbers"),
    })?;
    Ok(Some(labels.labels))
}

/// What goes into a model's folder beside its tensors.
pub struct Exporter {
    architecture: Architecture,
    adapter: Option<Adapter>,
    base: Option<PathBuf>,
    companions: Vec<(String, Vec<u8>)>,
    /// For the log.
    pub notes: Vec<String>,
}

impl Exporter {
    /// For a model that has been started, with the run's tokeniser.
    ///
    /// # Errors
    /// Those of the tokeniser.
    pub fn new(started: &Started, data: &Data) -> Result<Exporter> {
        Ok(Exporter {
            architecture: started.architecture,
            adapter: started.adapter.clone(),
            // As a path that holds wherever melos or PEFT is started.
            base: started
                .base
                .as_ref()
                .map(|b| b.canonicalize().unwrap_or_else(|_| b.clone())),
            companions: data.tokenizer_files()?,
            notes: started.notes.clone(),
        })
    }
}

/// The files of a trained model.
///
/// # Errors
/// Whatever the device reports; those of [`Adapter::weights`].
pub fn export(exporter: &Exporter, network: &Network, engine: &Engine) -> Result<ModelFiles> {
    let mut companions = exporter.companions.clone();
    let tensors = engine.parameters()?;
    let Some(adapter) = &exporter.adapter else {
        return Ok(ModelFiles::Transformers(hub::Model {
            architecture: exporter.architecture,
            config: network.to_json(),
            tensors: arrays(&tensors)?,
            companions,
        }));
    };
    let layout = network.layout(exporter.architecture)?;
    if exporter.architecture.has_labels() {
        let labels = Labels {
            labels: super::labels::names(network),
        };
        // Strings: this cannot fail.
        let text = serde_json::to_vec_pretty(&labels).unwrap_or_default();
        companions.push((LABELS.into(), text));
    }
    Ok(ModelFiles::Adapter {
        config: Box::new(adapter.config(exporter.base.as_deref())),
        weights: adapter.weights(&layout, &tensors)?,
        layout,
        companions,
    })
}

fn arrays(tensors: &TensorMap) -> Result<BTreeMap<String, Array<'static>>> {
    let array = |(name, tensor): (&String, &crate::train::state::HostTensor)| {
        let values = tensor.to_f32().unwrap_or_default();
        let array = Array::new(&tensor.shape, values).ok_or_else(|| Error::Parameter {
            name: name.clone(),
            message: "does not hold f32 numbers".into(),
        })?;
        Ok((name.clone(), array))
    };
    tensors.iter().map(array).collect()
}
