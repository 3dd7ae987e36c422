//! What a stage starts from: random weights, or those of a folder; and which of them it trains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::adapter::Adapter;
use super::engine::{Engine, EngineOptions};
use crate::blocks::BlockType;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::{self, Architecture, Head, Layout, LoadReport};
use crate::models::{Config, Dropouts, Family, Network, Pretrained, Reading, Sizes, is_adapter};
use crate::nn::{LoraPlan, Vars};
use crate::objectives;
use crate::tensor::{DType, ParamSpec, ParamStore, Rule};
use crate::text::{Vocabulary, WordVectors};
use crate::train::config::{
    Lora, ModelConfig, Part, Precision, Rates, RunConfig, StageConfig, StageKind, TransformerModel,
    UnfreezeEvery,
};
use crate::train::task::TaskRequest;

/// A model ready to be trained.
pub struct Started {
    /// Its parameters in training.
    pub engine: Engine,
    /// Its sizes.
    pub config: Box<dyn Config>,
    /// The model itself.
    pub network: Box<dyn Network>,
    /// Its tensors as files have them, an adapter's left out.
    pub layout: Layout,
    /// The adapter, with LoRA.
    pub adapter: Option<Adapter>,
    /// Where the base of an adapter stands.
    pub base: Option<PathBuf>,
    /// What the user should know about how it began.
    pub notes: Vec<String>,
}

/// The sizes that a run file gives, for a vocabulary.
fn sizes(m: &TransformerModel, vocabulary: &Vocabulary) -> Sizes {
    let roles = vocabulary.roles();
    Sizes {
        vocabulary: vocabulary.size(),
        hidden: m.hidden,
        layers: m.layers,
        heads: m.heads,
        feed_forward: m.feed_forward,
        positions: m.max_positions,
        activation: m.activation,
        norm_eps: m.norm_eps,
        dropout: Dropouts {
            hidden: Some(m.dropout),
            attention: Some(m.attention_dropout),
            classifier: m.classifier_dropout,
        },
        pad: roles.pad,
        begin: roles.bos,
        end: roles.eos,
    }
}

/// What is wrong with a key of a stage.
fn wrong(stage: &StageConfig, key: &str, message: impl ToString) -> Error {
    Error::value(format!("stage.{}.{key}", stage.name), message)
}

/// The sizes of a stage's model: its source's, or the run file's.
///
/// # Errors
/// [`Error::ConfigValue`] for a pretrained model that nothing names.
pub fn choose(
    config: &RunConfig,
    stage: &StageConfig,
    source: Option<&Pretrained>,
    vocabulary: &Vocabulary,
) -> Result<Box<dyn Config>> {
    let own = match (&config.model, config.model.family()) {
        // Its parts may go into a model of other sizes.
        (ModelConfig::Lstm(model), _) => Some(model.sized(stage, vocabulary.size())),
        (ModelConfig::Transformer(_, model), Some(family)) if source.is_none() => {
            family.sized(&sizes(model, vocabulary))
        }
        (ModelConfig::Picture(net), _) if source.is_none() => net.sized(),
        _ => None,
    };
    let mut network = (own.or_else(|| source.map(|s| s.config.clone()))).ok_or_else(|| {
        let message = "is not set; say which model to start from with --init DIR";
        wrong(stage, "init", message)
    })?;
    if let ModelConfig::Pretrained(changes) = &config.model {
        network.set_dropouts(&Dropouts {
            hidden: changes.dropout,
            attention: changes.attention_dropout,
            classifier: changes.classifier_dropout,
        });
    }
    let most = network.positions();
    let (key, length) = (stage.objective.length_key(), stage.objective.length());
    if length > most {
        let message =
            format!("is {length}, and the model has {most} positions; set {key} to {most} or less");
        return Err(wrong(stage, key, message));
    }
    Ok(network)
}

/// The sizes of a stage's model, and the folder that it starts from.
///
/// # Errors
/// Those of [`Pretrained::open`] and [`choose`]; [`Error::Tokenizer`] when the tokeniser has more
/// tokens than the model.
pub fn network(
    request: &TaskRequest<'_>,
    vocabulary: &Vocabulary,
) -> Result<(Box<dyn Config>, Option<Pretrained>)> {
    let source = open_source(request.init.as_deref(), request.base, request.stage)?;
    let network = choose(request.config, request.stage, source.as_ref(), vocabulary)?;
    vocabulary.fits(network.vocab_size())?;
    Ok((network, source))
}

/// The folder that a stage starts from, without what it is not to hand on.
///
/// # Errors
/// Those of [`Pretrained::open`].
pub fn open_source(
    init: Option<&Path>,
    base: Option<&Path>,
    stage: &StageConfig,
) -> Result<Option<Pretrained>> {
    let open = |folder| match stage.lora.is_some() && is_adapter(folder) {
        true => Pretrained::open_adapted(folder, base),
        false => Pretrained::open(folder, base),
    };
    let source = init.map(open).transpose()?;
    let hands_on = |source: Pretrained| {
        let whole = stage.kind == StageKind::Evaluate || source.config.reading() == Reading::Rows;
        if whole {
            return source;
        }
        let kept = |part: &Part| format!("{}.", part.prefix());
        source.only(stage.transfer.iter().map(kept).collect())
    };
    Ok(source.map(hands_on))
}

/// The class that learns a stage's objective.
///
/// # Errors
/// [`Error::ConfigValue`] where this family cannot learn it.
pub fn architecture(config: &dyn Config, stage: &StageConfig) -> Result<Architecture> {
    let (family, objective) = (config.family(), &stage.objective);
    let class = |head: Option<Head>| head.and_then(|head| family.format().class(head));
    class(objective.head()).ok_or_else(|| {
        let (one, name) = (family.one(), objective.name());
        let able = objectives::listed(|o| class(o.head()).is_some());
        let message = format!("{one} cannot learn \"{name}\"; it has: {able}");
        wrong(stage, "objective", message)
    })
}

/// A stage's model on the host: declared, adapted, and told which parameters train how.
pub struct Declared {
    pub vars: Vars,
    pub network: Box<dyn Network>,
    pub layout: Layout,
    pub adapter: Option<Adapter>,
    /// How the source compares with it.
    pub report: Option<LoadReport>,
    rates: Rates,
    plan: LoraPlan,
    /// What is held in blocks where it is frozen.
    packed: BTreeMap<String, BlockType>,
    family: &'static dyn Family,
    layers: usize,
}

/// Declares the model of a stage.
///
/// # Errors
/// [`Error::ConfigValue`] for an objective, `rates` or `lora` that do not fit it; those of the source.
pub fn declare(
    config: &dyn Config,
    source: Option<&Pretrained>,
    stage: &StageConfig,
) -> Result<Declared> {
    let architecture = architecture(config, stage)?;
    let vars = Vars::new();
    let mut network = config.build(&vars, architecture.head())?;
    network.set_checkpointing(stage.checkpointing);
    let layout = Layout::new(architecture, &vars);
    let report = source.map(|source| source.report(&layout)).transpose()?;
    let missing = report.as_ref().map_or(&[][..], |r| &r.missing);
    let adapter = adapter(stage, &layout, missing, source)?;
    let plan = adapter.as_ref().map(|a| a.plan.clone()).unwrap_or_default();
    vars.adapt(&plan)?;
    let base = stage.lora.as_ref().and_then(Lora::packing);
    let format = architecture.format;
    let packed = source.map(|source| source.packed(&vars, format, base));
    let rates = Rates::new(stage).map_err(|(key, message)| wrong(stage, &key, message))?;
    Ok(Declared {
        vars,
        network,
        layout,
        adapter,
        report,
        rates,
        plan,
        packed: packed.unwrap_or_default(),
        family: config.family(),
        layers: config.extent().layers,
    })
}

impl Declared {
    /// How a parameter is trained.
    pub fn rule(&self, spec: &ParamSpec, stage: &StageConfig) -> Rule {
        let rate = self.rates.of(spec, self.layers);
        let plan = &self.plan;
        let adapted = plan.is_empty() || plan.trains(&spec.name);
        let trains = adapted && stage.kind != StageKind::Evaluate;
        let lr_scale = if trains { rate.scale } else { 0.0 };
        let matrix = spec.shape.0.len() > 1;
        // The base of an adapter is not written out again: half its memory is enough.
        let half =
            stage.precision == Precision::F16 && !plan.is_empty() && matrix && lr_scale == 0.0;
        let packed = self.packed.get(&spec.name).filter(|_| lr_scale == 0.0);
        Rule {
            lr_scale,
            decays: self.family.decays(spec),
            level: rate.level,
            dtype: match packed {
                Some(kind) => DType::Packed(*kind),
                None if half => DType::F16,
                None => DType::F32,
            },
        }
    }
}

/// The adapter of a stage with LoRA, where the tensors `missing` begin anew: its source's, where that is one.
fn adapter(
    stage: &StageConfig,
    layout: &Layout,
    missing: &[String],
    source: Option<&Pretrained>,
) -> Result<Option<Adapter>> {
    let Some(lora) = &stage.lora else {
        return Ok(None);
    };
    let mut anew = missing.to_vec();
    // As PEFT does, a classifier's head is trained whole even when it is not new.
    if layout.architecture.head().has_labels() {
        let names = layout.tensors.iter().map(|(name, _)| name);
        let is_head = |name: &&String| layout.architecture.format.is_head(name);
        anew.extend(names.filter(is_head).cloned());
    }
    if let Some(config) = source.and_then(|source| source.adapter.as_ref()) {
        let adapter = Adapter::going_on(config, layout, &anew, lora.dropout);
        return adapter
            .map(Some)
            .map_err(|problem| wrong(stage, "init", problem));
    }
    let place = format!("stage.{}.lora", stage.name);
    Adapter::new(lora, layout, &anew, &place).map(Some)
}

/// Allocates the model of a stage and starts it.
///
/// # Errors
/// [`Error::ConfigValue`] for `freeze`, `rates` or `lora` that concern nothing;
/// [`Error::Folder`] for a source that lacks more than a head; those of reading.
pub fn start(
    gpu: Gpu,
    request: &TaskRequest<'_>,
    config: Box<dyn Config>,
    source: Option<Pretrained>,
    vectors: Option<(&Path, WordVectors)>,
    steps_per_epoch: u64,
) -> Result<Started> {
    let (stage, seed) = (request.stage, request.unit.seed);
    let built = declare(&*config, source.as_ref(), stage)?;
    let mut notes = Vec::new();
    if let (Some(source), Some(report)) = (&source, &built.report) {
        check_report(source, report, &built.layout, stage.kind)?;
        notes = notes_of(source, report);
    }
    if let Some(source) = source.as_ref()
        && let Some(own) = &source.adapter
    {
        let (from, rank, alpha) = (source.path.display(), own.r, own.lora_alpha);
        notes.push(format!(
            "goes on with the adapter in {from}: rank {rank}, alpha {alpha}, and the layers that it adapts"
        ));
    }
    let specs = built.vars.specs();
    if let Some((key, message)) = built.rates.unused(&specs) {
        return Err(wrong(stage, &key, message));
    }
    // What is loaded need not be drawn first.
    let start = |spec: ParamSpec| match (&source, &built.report) {
        (Some(source), Some(report)) if source.brings(&spec.name, &report.missing) => spec.zeroed(),
        _ => spec,
    };
    let specs = specs.into_iter().map(start).collect();
    let store = ParamStore::with_rules(&gpu, specs, seed, |spec| built.rule(spec, stage))?;
    if let Some((path, vectors)) = vectors {
        set_word_vectors(&store, &vectors, path)?;
    }
    if let (Some(source), Some(report)) = (&source, &built.report) {
        source.load(&store, &report.missing)?;
    }
    let (all, trained) = store.counts();
    if trained == 0 && stage.kind != StageKind::Evaluate {
        let key = if stage.freeze.is_some() {
            "freeze"
        } else {
            "rates"
        };
        let message = "leaves nothing to train; let it spare the head at least";
        return Err(wrong(stage, key, message));
    }
    if trained < all {
        notes.push(format!(
            "trains {trained} of {all} parameters ({:.2} %)",
            100.0 * trained as f64 / all as f64
        ));
    }
    let options = EngineOptions {
        optimizer: stage.optimizer,
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
        ema: stage.ema.filter(|_| stage.kind != StageKind::Evaluate),
        seed,
    };
    Ok(Started {
        engine: Engine::new(gpu, store, built.vars, options)?,
        config,
        network: built.network,
        layout: built.layout,
        adapter: built.adapter,
        base: source.map(|source| base_of(source, stage.init.as_deref())),
        notes,
    })
}

/// Where the base of an adapter stands, as a path that holds wherever melos or PEFT is started, or by its name on
/// the Hub.
fn base_of(source: Pretrained, init: Option<&str>) -> PathBuf {
    let named = match &source.adapter {
        Some(config) => config.base_model_name_or_path.as_deref(),
        None => init,
    };
    match named.map(Path::new).and_then(hub::model_name) {
        Some(name) => name.into(),
        None => {
            let path = source.base.unwrap_or(source.path);
            path.canonicalize().unwrap_or(path)
        }
    }
}

/// A source may lack the head of the objective and what is optional in its family, and nothing else; a
/// model that is only tested may lack nothing.
fn check_report(
    source: &Pretrained,
    report: &LoadReport,
    layout: &Layout,
    kind: StageKind,
) -> Result<()> {
    let format = layout.architecture.format;
    let optional = |name: &str| format.optional.iter().any(|part| name.starts_with(part));
    let may_begin_anew = |name: &str| {
        kind != StageKind::Evaluate
            && (format.is_head(name) || optional(name) || !source.has_part(name))
    };
    report.require(&source.path, may_begin_anew)
}

/// What was not taken over as it was.
fn notes_of(source: &Pretrained, report: &LoadReport) -> Vec<String> {
    let from = source.path.display();
    let lists = [
        (format!("not in {from}, begun anew"), &report.missing),
        (format!("in {from} and not used"), &report.unexpected),
    ];
    let lists = lists.iter().filter(|(_, names)| !names.is_empty());
    let note = |(what, names): &(String, &Vec<String>)| format!("{what}: {}", names.join(", "));
    lists.map(note).collect()
}

/// Overwrites the rows of the embedding for which there is a vector.
fn set_word_vectors(store: &ParamStore, vectors: &WordVectors, path: &Path) -> Result<()> {
    let table = store.get(&format!("{}.weight", Part::Embedding.prefix()))?;
    let width = table.shape().last();
    let mut values = table.to_vec::<f32>()?;
    for (id, row) in values.chunks_mut(width).enumerate() {
        let Some(vector) = vectors.row(id as u32) else {
            continue;
        };
        if vector.len() != width {
            return Err(Error::Vectors {
                path: path.to_path_buf(),
                place: "first vector".into(),
                message: format!(
                    "holds {} numbers, model.embedding is {width}; set one to the other",
                    vector.len()
                ),
            });
        }
        row.copy_from_slice(vector);
    }
    log::info!(
        "word vectors cover {:.1} % of the vocabulary",
        100.0 * vectors.coverage()
    );
    table.write(&values)
}
