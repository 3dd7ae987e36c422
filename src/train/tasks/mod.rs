//! Where stages become models on a GPU: one [`Task`] for each objective.

mod ahead;
mod data;
pub(crate) mod engine;
mod lstm;
mod objective;
pub(crate) mod transformer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::{ModelConfig, Precision, RunConfig, StageConfig};
use super::estimate::{DataSizes, Estimate};
use super::fit::AdapterLimits;
use super::run::{Model, resolve_model};
use super::task::{Task, TaskRequest};
use crate::device::{AdapterChoice, Gpu};
use crate::error::{Error, Result};
use crate::hub;
use crate::objectives::{Classify, Clm, Lm, Sa, Words};
use data::Data;
use objective::ObjectiveTask;

/// Builds the tasks of a run, one after the other. The device is opened once; text is read and
/// tokenised once.
#[derive(Default)]
pub struct TaskFactory {
    gpu: Option<Gpu>,
    data: Option<Arc<Data>>,
    /// Nothing is held out: every text is read and scored.
    all_texts: bool,
}

impl TaskFactory {
    /// A factory for tasks that score all texts.
    pub(crate) fn of_all_texts(gpu: Gpu) -> TaskFactory {
        TaskFactory {
            gpu: Some(gpu),
            data: None,
            all_texts: true,
        }
    }

    /// Builds the task of one unit of the run.
    ///
    /// # Errors
    /// Whatever the data, the files or the device report.
    pub fn build(&mut self, request: &TaskRequest<'_>) -> Result<Box<dyn Task>> {
        let data = match &self.data {
            Some(data) => data.clone(),
            None => self
                .data
                .insert(Arc::new(Data::open(
                    request.config,
                    request.folder,
                    self.all_texts,
                )?))
                .clone(),
        };
        // A context of its own: the memory of one unit is gone when the next begins.
        let gpu = self.gpu(request.adapter)?.fork();
        let sizes = DataSizes {
            vocabulary: data.tokenizer.vocab_size(),
            classes: data.documents.label_names().len(),
        };
        // Before anything is allocated: a refusal says what would fit.
        let size = estimate(
            request.config,
            request.stage,
            (request.init.as_deref(), request.base),
            sizes,
        )?;
        size.check(
            &request.stage.name,
            &AdapterLimits::of(&gpu, request.config),
        )?;
        gpu.limit_memory(request.config.memory_limit.map(|limit| limit.as_u64()));
        make(gpu, data, request, size).map_err(|error| size.explain(&request.stage.name, error))
    }

    /// Refuses, before a folder is made or a text is read, a run with a stage that the adapter
    /// cannot do, or that cannot fit it whatever its text: the vocabulary is taken at its smallest.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`], [`Error::NoHalf`]; no adapter, or a driver that refuses.
    pub fn check(&mut self, config: &RunConfig, adapter: Option<&str>) -> Result<()> {
        let gpu = self.gpu(adapter)?;
        if config.stages.iter().any(|s| s.precision == Precision::F16) {
            gpu.require_f16()?;
        }
        let limits = AdapterLimits::of(gpu, config);
        let sizes = DataSizes {
            vocabulary: 0,
            classes: 2,
        };
        config
            .stages
            .iter()
            .try_for_each(|stage| planned(config, stage, sizes)?.check(&stage.name, &limits))
    }

    /// The device, opened by whoever asks first.
    pub(super) fn gpu(&mut self, adapter: Option<&str>) -> Result<&Gpu> {
        Ok(match &mut self.gpu {
            Some(gpu) => gpu,
            none => none.insert(open_gpu(adapter)?),
        })
    }
}

/// The task of a unit, its memory allocated.
fn make(
    gpu: Gpu,
    data: Arc<Data>,
    request: &TaskRequest<'_>,
    size: Estimate,
) -> Result<Box<dyn Task>> {
    fn boxed<O: objective::Objective + 'static>(
        task: ObjectiveTask<O>,
        size: Estimate,
    ) -> Box<dyn Task> {
        Box::new(task.sized(size))
    }
    match &request.config.model {
        ModelConfig::Lstm(model) => {
            let start = lstm::Start {
                gpu,
                model,
                request,
            };
            Ok(match request.stage.objective.name() {
                Lm::NAME => boxed(lstm::LanguageModel::task(&start, data)?, size),
                Sa::NAME => boxed(lstm::Autoencoder::task(&start, data)?, size),
                // Validation left no other.
                _ => boxed(lstm::Classifier::task(&start, data)?, size),
            })
        }
        _ => Ok(match request.stage.objective.name() {
            Clm::NAME => boxed(transformer::CausalLm::task(gpu, data, request)?, size),
            Classify::NAME => boxed(
                transformer::SequenceClassifier::task(gpu, data, request)?,
                size,
            ),
            Words::NAME => boxed(transformer::WordClassifier::task(gpu, data, request)?, size),
            _ => boxed(transformer::MaskedLm::task(gpu, data, request)?, size),
        }),
    }
}

/// The size of a stage that starts from the folder `init` (and, for an adapter, its base), or from
/// nothing.
fn estimate(
    config: &RunConfig,
    stage: &StageConfig,
    init: (Option<&Path>, Option<&Path>),
    data: DataSizes,
) -> Result<Estimate> {
    match &config.model {
        ModelConfig::Lstm(model) => Ok(Estimate::lstm(model, stage, data)),
        _ => transformer::estimate(config, stage, init, data),
    }
}

/// The size of a stage before the run begins, when earlier stages have left no models yet.
///
/// # Errors
/// Those of the folder that it starts from; [`Error::ConfigValue`] for what does not fit its model.
pub fn planned(config: &RunConfig, stage: &StageConfig, data: DataSizes) -> Result<Estimate> {
    let init = first_init(config, stage)?;
    estimate(config, stage, (init.as_deref(), None), data)
}

/// The model folder that a stage starts from, when earlier stages have left no models yet: that of
/// the stage which the first of them began with. An LSTM's sizes do not come from a folder.
///
/// # Errors
/// Those of [`resolve_model`].
pub(super) fn first_init(config: &RunConfig, stage: &StageConfig) -> Result<Option<PathBuf>> {
    let mut first = stage;
    while let Some(before) = (first.init.as_ref()).and_then(|init| {
        config
            .stages
            .iter()
            .find(|s| s.name == *init && s.name != first.name)
    }) {
        first = before;
    }
    // Validation saw to it that what is no stage is a folder.
    match (&config.model, &first.init) {
        (ModelConfig::Lstm(_), _) | (_, None) => Ok(None),
        (_, Some(path)) => resolve_model(Path::new(path)).map(Some),
    }
}

/// Opens a device.
///
/// # Errors
/// No adapter, or not the one asked for; a driver that refuses.
pub(crate) fn open_gpu(adapter: Option<&str>) -> Result<Gpu> {
    Gpu::open(&AdapterChoice {
        wanted: adapter.map(str::to_string),
        checked: false,
    })
}

/// Whether a model folder is one of melos's own.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Folder`] for a folder without a `config.json` that can be read.
pub(crate) fn is_lstm(folder: &Path) -> Result<bool> {
    let path = folder.join(hub::CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|e| Error::read(&path, e))?;
    let config: serde_json::Value = serde_json::from_str(&text).map_err(|e| Error::Folder {
        path,
        problem: format!("is not JSON: {e}; copy it again"),
    })?;
    // What names no kind is told so by the reader of transformers' folders.
    Ok(config["model_type"].as_str() == Some(lstm::MODEL_TYPE))
}

/// Opens an LSTM's model folder.
///
/// # Errors
/// Whatever the files or the device report.
pub fn open_model(folder: &Path, adapter: Option<&str>) -> Result<Box<dyn Model>> {
    Ok(Box::new(lstm::SavedModel::open(
        folder,
        open_gpu(adapter)?,
    )?))
}

/// Limits of the adapter that a run would use, where there is one.
///
/// # Errors
/// An adapter that was asked for and is not there, or a driver that refuses.
pub fn adapter_limits(adapter: Option<&str>, config: &RunConfig) -> Result<Option<AdapterLimits>> {
    match open_gpu(adapter) {
        Ok(gpu) => Ok(Some(AdapterLimits::of(&gpu, config))),
        Err(Error::NoAdapter { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
