//! What the objectives of transformers share; and their models as files: a Hugging Face folder, or a
//! PEFT adapter's.

use std::path::PathBuf;
use std::sync::Arc;

use super::adapter::Adapter;
use super::start::Started;
use crate::error::Result;
use crate::hub::adapter::{LABELS, labels_file};
use crate::hub::{self, Layout};
use crate::models::{Config, Network};
use crate::train::config::StageConfig;
use crate::train::task::ModelFiles;
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::Engine;

/// What a transformer's objective needs besides its model and its batches.
pub struct Basis {
    pub config: Box<dyn Config>,
    pub network: Box<dyn Network>,
    pub data: Arc<Data>,
    pub parts: Parts,
    pub stage: StageConfig,
    /// What the user should know about how the model began.
    pub notes: Vec<String>,
    /// Its tensors as files have them, an adapter's left out.
    layout: Layout,
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
        let classifies = started.layout.architecture.head().has_labels();
        let basis = Basis {
            config: started.config,
            network: started.network,
            companions: data.tokenizer_files(classifies)?,
            data,
            parts,
            stage: stage.clone(),
            notes: started.notes,
            layout: started.layout,
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
                architecture: self.layout.architecture,
                config: self.config.to_json(),
                tensors,
                companions,
            }));
        };
        if self.layout.architecture.head().has_labels() {
            let text = labels_file(&super::labels::names(&*self.config));
            companions.push((LABELS.into(), text));
        }
        Ok(ModelFiles::Adapter {
            config: Box::new(adapter.config(self.base.as_deref())),
            weights: adapter.weights(&self.layout, &tensors)?,
            layout: self.layout.clone(),
            companions,
        })
    }
}
