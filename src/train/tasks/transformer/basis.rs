//! What the objectives of transformers share; and their models as files: a Hugging Face folder, or a
//! PEFT adapter's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::adapter::Adapter;
use super::network::Network;
use super::start::Started;
use crate::error::{Error, Result};
use crate::hub::adapter::{LABELS, labels_file};
use crate::hub::{self, Architecture, Array};
use crate::nn::LoraPlan;
use crate::train::config::StageConfig;
use crate::train::state::TensorMap;
use crate::train::task::ModelFiles;
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::Engine;

/// What a transformer's objective needs besides its model and its batches.
pub struct Basis {
    pub network: Network,
    /// What is adapted; empty without LoRA.
    pub plan: LoraPlan,
    pub data: Arc<Data>,
    pub parts: Parts,
    pub stage: StageConfig,
    /// What the user should know about how the model began.
    pub notes: Vec<String>,
    architecture: Architecture,
    adapter: Option<Adapter>,
    /// Where the base of an adapter stands.
    base: Option<PathBuf>,
    /// What goes into the model's folder beside its tensors.
    companions: Vec<(String, Vec<u8>)>,
}

impl Basis {
    /// Of a model that has been started, with its parameters in training.
    ///
    /// # Errors
    /// Those of the tokeniser.
    pub fn new(
        started: Started,
        data: Arc<Data>,
        parts: Parts,
        stage: &StageConfig,
    ) -> Result<(Engine, Basis)> {
        let basis = Basis {
            network: started.network,
            plan: started.plan,
            companions: data.tokenizer_files()?,
            data,
            parts,
            stage: stage.clone(),
            notes: started.notes,
            architecture: started.architecture,
            adapter: started.adapter,
            // As a path that holds wherever melos or PEFT is started.
            base: started.base.map(|b| b.canonicalize().unwrap_or(b)),
        };
        Ok((started.engine, basis))
    }

    /// Tokens of an epoch over its texts, each in a frame of two.
    pub fn tokens_per_epoch(&self) -> u64 {
        let documents = &self.data.documents;
        let length =
            |&doc: &u32| (documents.ids(doc).len() + 2).min(self.stage.objective.length()) as u64;
        self.parts.train.iter().map(length).sum()
    }

    /// The files of the trained model.
    ///
    /// # Errors
    /// Whatever the device reports; those of [`Adapter::weights`].
    pub fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        let mut companions = self.companions.clone();
        let tensors = engine.parameters()?;
        let Some(adapter) = &self.adapter else {
            return Ok(ModelFiles::Transformers(hub::Model {
                architecture: self.architecture,
                config: self.network.to_json(),
                tensors: arrays(&tensors)?,
                companions,
            }));
        };
        let layout = self.network.layout(self.architecture)?;
        if self.architecture.has_labels() {
            let text = labels_file(&super::labels::names(&self.network));
            companions.push((LABELS.into(), text));
        }
        Ok(ModelFiles::Adapter {
            config: Box::new(adapter.config(self.base.as_deref())),
            weights: adapter.weights(&layout, &tensors)?,
            layout,
            companions,
        })
    }
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
