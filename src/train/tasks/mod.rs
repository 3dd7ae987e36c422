//! Where stages become models on a GPU: one [`Task`] for each objective.

mod adapter;
mod ahead;
mod average;
mod data;
mod engine;
mod lesson;
mod objective;
mod said;
mod start;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::config::{ModelConfig, Precision, Problem, RunConfig, StageConfig};
use super::estimate::{DataSizes, Estimate, ModelSizes};
use super::fit::AdapterLimits;
use super::run::resolve_model;
use super::task::{Task, TaskRequest};
use crate::device::{AdapterChoice, Gpu};
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Beside, Labels as ModelLabels};
use crate::text::chat;
use crate::text::{Roles, Vocabulary, WordVectors};
pub(crate) use data::PicturePlan;
pub(super) use data::{Data, Parts, Texts};
pub(super) use lesson::Lesson;
use objective::ObjectiveTask;
pub(super) use start::{choose, open_source};

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
        let mut reading = 0.0;
        let data = match &mut self.data {
            Some(data) => data,
            none => {
                let began = Instant::now();
                let data = Data::open(request.config, request.folder, self.all_texts)?;
                if !self.all_texts {
                    lesson::require(&data, request.config, request.unit)?;
                }
                reading = began.elapsed().as_secs_f64();
                none.insert(Arc::new(data))
            }
        };
        let data = data.clone();
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
            (request.init.as_deref(), request.beside),
            sizes,
        )?;
        size.check(
            &request.stage.name,
            &AdapterLimits::of(&gpu, request.config),
        )?;
        gpu.limit_memory(request.config.memory_limit.map(|limit| limit.as_u64()));
        let task = make(gpu, data, request, size)
            .map_err(|error| size.explain(&request.stage.name, error))?;
        Ok(Box::new(task.read_in(reading)))
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
        fits_some_data(config, &AdapterLimits::of(gpu, config))
    }

    /// The device, opened by whoever asks first.
    pub(super) fn gpu(&mut self, adapter: Option<&str>) -> Result<&Gpu> {
        Ok(match &mut self.gpu {
            Some(gpu) => gpu,
            none => none.insert(open_gpu(adapter)?),
        })
    }
}

/// Refuses a stage that fits no data: the vocabulary is taken at its smallest.
pub(super) fn fits_some_data(config: &RunConfig, limits: &AdapterLimits) -> Result<()> {
    let sizes = DataSizes {
        vocabulary: 0,
        classes: 2,
    };
    let mut stages = config.stages.iter();
    stages.try_for_each(|stage| planned(config, stage, sizes)?.check(&stage.name, limits))
}

/// The task of a unit, its memory allocated.
fn make(
    gpu: Gpu,
    data: Arc<Data>,
    request: &TaskRequest<'_>,
    size: Estimate,
) -> Result<ObjectiveTask> {
    let (stage, unit) = (request.stage, request.unit);
    let (mut config, mut source) = start::network(request, data.tokenizer.vocabulary())?;
    let vectors = match request
        .config
        .model
        .lstm()
        .and_then(|m| m.word_vectors.as_deref())
    {
        Some(path) => Some((path, WordVectors::read(path, &data.tokenizer)?)),
        None => None,
    };
    let taught = (stage, unit);
    let lesson = Lesson::prepare(&data, request.config, taught, &mut config, &mut source)?;
    let classifies = stage.objective.head().is_some_and(Head::has_labels);
    let mut companions = data.companions(config.reading(), classifies)?;
    if let Some(template) = &data.template {
        companions.push((chat::FILE.into(), template.clone().into_bytes()));
    }
    let batches = lesson.stream.per_epoch();
    let started = start::start(gpu, request, config, source, vectors, batches)?;
    ObjectiveTask::new(started, lesson, companions, request, size)
}

/// The size of a stage that starts from the folder `init` and what belongs to it beside, or from
/// nothing.
fn estimate(
    config: &RunConfig,
    stage: &StageConfig,
    (init, beside): (Option<&Path>, Beside<'_>),
    data: DataSizes,
) -> Result<Estimate> {
    let vocabulary = Vocabulary::new(data.vocabulary.max(1), Roles::default(), &[], &[], "");
    let source = start::open_source(init, beside, stage)?;
    let mut sizes = start::choose(config, stage, source.as_ref(), &vocabulary)?;
    if stage.objective.needs_labels() {
        let problem = stage.objective.problem();
        let count = match problem {
            Problem::Regression => 1,
            _ => data.classes.max(1),
        };
        let names: Vec<String> = (0..count).map(|n| format!("LABEL_{n}")).collect();
        sizes.set_labels(ModelLabels::named(&names, Some(problem.into())));
    }
    if let Some(own) = lesson::unnamed(stage) {
        sizes.set_labels(own);
    }
    let built = start::declare(&*sizes, source.as_ref(), stage)?;
    let mut total = ModelSizes {
        parameters: 0,
        trainable: 0,
        held: 0,
        largest_parameter: 0,
        extent: sizes.extent(),
    };
    for spec in built.vars.specs() {
        let len = spec.shape.len() as u64;
        let rule = built.rule(&spec, stage);
        total.parameters += len;
        total.trainable += if rule.lr_scale > 0.0 { len } else { 0 };
        total.held += rule.dtype.bytes(spec.shape.len());
        total.largest_parameter = total
            .largest_parameter
            .max(rule.dtype.bytes(spec.shape.len()));
    }
    Ok(Estimate::of(&total, stage))
}

/// The size of a stage before the run begins, when earlier stages have left no models yet.
///
/// # Errors
/// Those of the folder that it starts from; [`Error::ConfigValue`] for what does not fit its model.
pub fn planned(config: &RunConfig, stage: &StageConfig, data: DataSizes) -> Result<Estimate> {
    let init = first_init(config, stage)?;
    estimate(config, stage, (init.as_deref(), Beside::default()), data)
}

/// The model folder that a stage starts from, when earlier stages have left no models yet: that of
/// the stage which the first of them began with.
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
