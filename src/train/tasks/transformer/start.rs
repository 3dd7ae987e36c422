//! What a stage starts from: random weights, or those of a folder; and which of them it trains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::adapter::Adapter;
use super::network::Network;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::{self, Architecture, Array, LoadReport};
use crate::nn::LoraPlan;
use crate::tensor::{DType, ParamSpec, ParamStore, Rule};
use crate::text::Vocabulary;
use crate::train::config::{
    ModelConfig, Precision, Rates, RunConfig, StageConfig, StageKind, UnfreezeEvery,
};
use crate::train::task::TaskRequest;
use crate::train::tasks::engine::{Engine, EngineOptions};

/// A model from files, adapter merged: its configuration and its tensors by canonical name.
pub struct Source {
    /// The folder that was named.
    pub path: PathBuf,
    /// Its network.
    pub network: Network,
    /// Its class, where it is known.
    pub architecture: Option<Architecture>,
    /// Where the adapter's base stands, for an adapter.
    pub base: Option<PathBuf>,
    /// Whether its head is to be left alone.
    headless: bool,
    files: Files,
}

enum Files {
    Model(hub::Checkpoint),
    Merged(BTreeMap<String, Array<'static>>),
}

/// Whether a folder is a PEFT adapter.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(hub::adapter::ADAPTER_CONFIG).is_file()
}

impl Source {
    /// Opens a model folder, or an adapter's with its base: `base`, or where its configuration says.
    ///
    /// # Errors
    /// Those of [`hub::open`] and [`hub::adapter`]; [`Error::Folder`] where the base is not to be
    /// found.
    pub fn open(folder: &Path, base: Option<&Path>) -> Result<Source> {
        if !is_adapter(folder) {
            let checkpoint = hub::open(folder)?;
            return Ok(Source {
                path: folder.to_path_buf(),
                network: Network::read(&checkpoint.config, folder)?,
                architecture: checkpoint.architecture().ok(),
                base: None,
                headless: false,
                files: Files::Model(checkpoint),
            });
        }
        let adapter = hub::adapter::read(folder)?;
        let base = match base {
            Some(base) => base.to_path_buf(),
            None => base_of(&adapter)?,
        };
        let checkpoint = hub::open(&base)?;
        let (model, _) = hub::adapter::merge(&checkpoint, &adapter)?;
        let network = Network::read(&model.config, &base)?;
        let tensors = model.tensors.into_iter().map(|(name, array)| {
            let shape = array.shape().to_vec();
            let values = array.into_values();
            let owned = Array::new(&shape, values).ok_or_else(|| Error::TensorFile {
                file: folder.to_path_buf(),
                tensor: Some(name.clone()),
                problem: "has not as many numbers as its shape says".into(),
            })?;
            Ok((name, owned))
        });
        Ok(Source {
            path: folder.to_path_buf(),
            network,
            architecture: Some(model.architecture),
            files: Files::Merged(tensors.collect::<Result<_>>()?),
            base: Some(base),
            headless: false,
        })
    }

    /// The same without its head, whose outputs mean something else.
    pub fn without_head(self) -> Source {
        Source {
            headless: true,
            ..self
        }
    }

    /// How its tensors compare with those of a class of `network`. A head of other labels counts as
    /// missing.
    ///
    /// # Errors
    /// As [`hub::Checkpoint::report`].
    pub fn report(&self, network: &Network, architecture: Architecture) -> Result<LoadReport> {
        let mut layout = network.layout(architecture)?;
        match &self.files {
            Files::Model(checkpoint) => {
                let other = |name: &str, shape: &[usize]| {
                    let found = checkpoint.info(name);
                    let resized = found.is_some_and(|info| info.shape != shape);
                    is_head(name) && (self.headless || resized)
                };
                let resized: Vec<String> = (layout.tensors.iter())
                    .filter(|(name, shape)| other(name, shape))
                    .map(|(name, _)| name.clone())
                    .collect();
                layout.tensors.retain(|(name, _)| !resized.contains(name));
                let mut report = checkpoint.report(&layout)?;
                report.unexpected.retain(|name| !resized.contains(name));
                report.missing.extend(resized);
                Ok(report)
            }
            Files::Merged(tensors) => {
                let missing = layout.tensors.iter().filter(|(name, shape)| {
                    let other = tensors.get(name).is_none_or(|a| a.shape() != shape);
                    other || (self.headless && is_head(name))
                });
                let missing: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
                let unexpected = tensors.keys().filter(|name| layout.shape(name).is_none());
                Ok(LoadReport {
                    unexpected: unexpected.cloned().collect(),
                    missing,
                    ..LoadReport::default()
                })
            }
        }
    }

    /// Whether it has a tensor of this name and shape.
    pub fn has(&self, name: &str, shape: &[usize]) -> bool {
        match &self.files {
            Files::Model(checkpoint) => checkpoint.info(name).is_some_and(|i| i.shape == shape),
            Files::Merged(tensors) => tensors.get(name).is_some_and(|a| a.shape() == shape),
        }
    }

    fn values(&self, name: &str) -> Result<Vec<f32>> {
        match &self.files {
            Files::Model(checkpoint) => checkpoint.values(name),
            Files::Merged(tensors) => {
                let array = tensors.get(name).ok_or_else(|| Error::TensorFile {
                    file: self.path.clone(),
                    tensor: Some(name.into()),
                    problem: "is missing".into(),
                })?;
                Ok(array.values().into_owned())
            }
        }
    }

    /// Overwrites the parameters of `store` that it has; the others stay as they began.
    ///
    /// # Errors
    /// Those of reading.
    pub fn load(&self, store: &ParamStore, missing: &[String]) -> Result<()> {
        let own: Vec<ParamSpec> = store.specs().cloned().collect();
        for spec in own {
            if loads(&spec.name, missing) {
                store
                    .get(&spec.name)?
                    .write_rounded(&self.values(&spec.name)?)?;
            }
        }
        Ok(())
    }
}

/// Whether a model that lacks `missing` has the parameter `name`; an adapter's it never has.
fn loads(name: &str, missing: &[String]) -> bool {
    !name.contains(".lora_") && !missing.iter().any(|m| m == name)
}

/// Where an adapter's configuration says that its base stands: as given, or beside the adapter.
fn base_of(adapter: &hub::adapter::Adapter) -> Result<PathBuf> {
    let missing = |problem: String| Error::Folder {
        path: adapter.path.clone(),
        problem,
    };
    let named = adapter.config.base_model_name_or_path.as_deref();
    let Some(named) = named.filter(|n| !n.is_empty()) else {
        return Err(missing(
            "is an adapter that does not name its base model; give it with --base DIR".into(),
        ));
    };
    let path = PathBuf::from(named);
    let beside = adapter.path.join(&path);
    [path, beside]
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(|| {
            missing(format!(
                "is an adapter for the base model '{named}', which is not there; give it with --base DIR"
            ))
        })
}

/// Whether a tensor belongs to what an objective adds to the model.
pub fn is_head(name: &str) -> bool {
    !(name.starts_with("bert.") || name.starts_with("transformer."))
}

/// A model ready to be trained.
pub struct Started {
    /// Its parameters in training.
    pub engine: Engine,
    /// Its network.
    pub network: Network,
    /// Its class.
    pub architecture: Architecture,
    /// What is adapted; empty without LoRA.
    pub plan: LoraPlan,
    /// The adapter, with LoRA.
    pub adapter: Option<Adapter>,
    /// Where the base of an adapter stands.
    pub base: Option<PathBuf>,
    /// What the user should know about how it began.
    pub notes: Vec<String>,
}

/// The network of a stage: its source's, or the run file's.
///
/// # Errors
/// [`Error::ConfigValue`] for a pretrained model that nothing names.
pub fn choose(
    config: &RunConfig,
    stage: &StageConfig,
    source: Option<&Source>,
    vocabulary: &Vocabulary,
) -> Result<Network> {
    let mut network = match (source, &config.model) {
        (Some(source), _) => source.network.clone(),
        (None, ModelConfig::Bert(model)) => Network::bert(model, vocabulary),
        (None, ModelConfig::Gpt2(model)) => Network::gpt2(model, vocabulary),
        (None, _) => {
            return Err(Error::ConfigValue {
                place: format!("stage.{}.init", stage.name),
                message: "is not set; say which model to start from with --init DIR".into(),
            });
        }
    };
    if let ModelConfig::Pretrained(changes) = &config.model {
        network.set_dropouts(changes);
    }
    let most = network.positions();
    let length = stage.objective.length();
    if length > most {
        return Err(Error::ConfigValue {
            place: format!("stage.{}.max_len", stage.name),
            message: format!(
                "is {length}, and the model has {most} positions; set max_len to {most} or less"
            ),
        });
    }
    Ok(network)
}

/// The network of a stage, and the folder that it starts from.
///
/// # Errors
/// Those of [`Source::open`] and [`choose`]; [`Error::Tokenizer`] when the tokeniser has more tokens
/// than the model.
pub fn network(
    request: &TaskRequest<'_>,
    vocabulary: &Vocabulary,
) -> Result<(Network, Option<Source>)> {
    let source = (request.init.as_deref())
        .map(|folder| Source::open(folder, request.base))
        .transpose()?;
    let network = choose(request.config, request.stage, source.as_ref(), vocabulary)?;
    vocabulary.fits(network.vocab_size())?;
    Ok((network, source))
}

/// The adapter of a stage with LoRA, where the tensors `missing` begin anew.
///
/// # Errors
/// As [`Adapter::new`].
pub fn adapter(
    stage: &StageConfig,
    network: &Network,
    architecture: Architecture,
    missing: &[String],
) -> Result<Option<Adapter>> {
    let Some(lora) = &stage.lora else {
        return Ok(None);
    };
    let layout = network.layout(architecture)?;
    let mut anew = missing.to_vec();
    // As PEFT does, a classifier's head is trained whole even when it is not new.
    if architecture.has_labels() {
        let names = layout.tensors.iter().map(|(name, _)| name);
        anew.extend(names.filter(|name| is_head(name)).cloned());
    }
    let place = format!("stage.{}.lora", stage.name);
    Adapter::new(lora, &layout, &anew, &place).map(Some)
}

/// Allocates the model of a stage and starts it.
///
/// # Errors
/// [`Error::ConfigValue`] for `freeze`, `rates` or `lora` that concern nothing;
/// [`Error::Folder`] for a source that lacks more than a head; those of reading.
pub fn start(
    gpu: Gpu,
    request: &TaskRequest<'_>,
    network: Network,
    source: Option<Source>,
    steps_per_epoch: u64,
) -> Result<Started> {
    let (stage, seed) = (request.stage, request.unit.seed);
    let at = |key: &str| format!("stage.{}.{key}", stage.name);
    let wrong = |(key, message): (String, String)| Error::ConfigValue {
        place: at(&key),
        message,
    };
    let architecture = network.architecture(stage.objective.name(), &stage.name)?;
    let report = source
        .as_ref()
        .map(|source| source.report(&network, architecture))
        .transpose()?;
    let mut notes = Vec::new();
    if let (Some(source), Some(report)) = (&source, &report) {
        check_report(source, report, stage.kind)?;
        notes = notes_of(source, report);
    }
    if stage.lora.is_some() && source.as_ref().is_some_and(|s| s.base.is_some()) {
        return Err(wrong((
            "init".into(),
            "is an adapter itself; merge it into its base first, with `melos merge`".into(),
        )));
    }
    let missing = report.as_ref().map_or(&[][..], |r| &r.missing);
    let adapter = adapter(stage, &network, architecture, missing)?;
    let plan = adapter
        .as_ref()
        .map_or(LoraPlan::default(), |a| a.plan.clone());
    let specs = network.specs(architecture, &plan)?;
    let rates = Rates::new(stage).map_err(wrong)?;
    let names: Vec<String> = specs.iter().map(|s| s.name.clone()).collect();
    if let Some(fault) = rates.unused(names.iter().map(String::as_str)) {
        return Err(wrong(fault));
    }
    let rule = |spec: &ParamSpec| rule(spec, &rates, &network, &plan, stage);
    // What is loaded need not be drawn first.
    let start = |spec: ParamSpec| match &report {
        Some(report) if loads(&spec.name, &report.missing) => spec.zeroed(),
        _ => spec,
    };
    let specs = specs.into_iter().map(start).collect();
    let store = ParamStore::with_rules(&gpu, specs, seed, rule)?;
    if let (Some(source), Some(report)) = (&source, &report) {
        source.load(&store, &report.missing)?;
    }
    let (all, trained) = store.counts();
    if trained < all {
        notes.push(format!(
            "trains {trained} of {all} parameters ({:.2} %)",
            100.0 * trained as f64 / all as f64
        ));
    }
    let options = EngineOptions {
        optimizer: &stage.optimizer,
        clip_norm: stage.clip_norm,
        unfreeze_every: stage.unfreeze_every.map(|every| match every {
            UnfreezeEvery::Steps(steps) => steps,
            UnfreezeEvery::Epochs(epochs) => {
                let steps = steps_per_epoch.div_ceil(stage.accumulate as u64);
                ((epochs * steps as f64).round() as u64).max(1)
            }
        }),
        accumulate: stage.accumulate,
        precision: stage.precision,
        seed,
    };
    Ok(Started {
        engine: Engine::new(gpu, store, &options)?,
        network,
        architecture,
        plan,
        adapter,
        base: source.map(|s| s.path),
        notes,
    })
}

/// How a parameter is trained in a stage.
pub fn rule(
    spec: &ParamSpec,
    rates: &Rates,
    network: &Network,
    plan: &LoraPlan,
    stage: &StageConfig,
) -> Rule {
    let rate = rates.of(&spec.name, network.layers());
    let adapted = plan.is_empty() || plan.trains(&spec.name);
    let trains = adapted && stage.kind != StageKind::Evaluate;
    let lr_scale = if trains { rate.scale } else { 0.0 };
    let matrix = spec.shape.0.len() > 1;
    // The base of an adapter is not written out again: half its memory is enough.
    let half = stage.precision == Precision::F16 && !plan.is_empty() && matrix && lr_scale == 0.0;
    Rule {
        lr_scale,
        // As in transformers: no decay of biases and LayerNorms.
        decays: matrix,
        level: rate.level,
        dtype: if half { DType::F16 } else { DType::F32 },
    }
}

/// A source may lack the head of the objective and the pooler, and nothing else; a model that is
/// only tested may lack nothing.
fn check_report(source: &Source, report: &LoadReport, kind: StageKind) -> Result<()> {
    let may_begin_anew = |name: &str| {
        kind != StageKind::Evaluate && (is_head(name) || name.starts_with("bert.pooler."))
    };
    report.require(&source.path, may_begin_anew)
}

/// What was not taken over as it was.
fn notes_of(source: &Source, report: &LoadReport) -> Vec<String> {
    let mut notes = Vec::new();
    let from = source.path.display();
    if !report.missing.is_empty() {
        notes.push(format!(
            "not in {from}, begun anew: {}",
            report.missing.join(", ")
        ));
    }
    if !report.unexpected.is_empty() {
        notes.push(format!(
            "in {from} and not used: {}",
            report.unexpected.join(", ")
        ));
    }
    notes
}
