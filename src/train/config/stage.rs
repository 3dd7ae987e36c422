//! A stage of a run file.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use super::merge;
use super::model::{Dropout, LstmModel};
use super::tuning::{Lora, UnfreezeEvery};
use crate::error::{Error, Result};
use crate::models::lstm;
use crate::objectives::metrics::{self, Metric};
use crate::objectives::{self, AnyObjective, OBJECTIVES, Objective, Registered};
use crate::optim::OptimizerKind;
use crate::optim::schedule::Schedule;
use crate::schema::{self, Fault, Read};

/// One stage: the keys that every stage has, and its objective with the objective's own.
///
/// As `remote = "Self"`, serde's derive makes functions of the type; the traits are implemented
/// below, by way of the registry of objectives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields, default = "unread")]
pub struct StageConfig {
    /// Names the stage in `init`, `--set stage.NAME.…`, folders and the report.
    pub name: String,
    /// What is done.
    pub kind: StageKind,
    /// What is learned; its options stand beside the other keys.
    #[serde(flatten, skip_deserializing)]
    pub objective: AnyObjective,
    /// Weights to start from: an earlier stage's name or a model folder; absent: from scratch.
    pub init: Option<String>,
    /// Which of those weights are taken over.
    pub transfer: Vec<Part>,
    /// Which text a pretrain stage reads.
    pub text: TextChoice,
    /// Run the stage once per seed and report the mean.
    pub seeds: Vec<u64>,
    /// Run the stage once per fold of a cross-validation and report the mean.
    pub folds: Option<usize>,
    /// Run only the first so many folds of the cross-validation.
    pub run_folds: Option<usize>,
    /// Learn from only so many of the texts that there are to learn from; absent: from all.
    pub train_texts: Option<usize>,
    /// Highest learning rate.
    pub lr: f64,
    /// Texts (or parallel streams of text) per step.
    pub batch: usize,
    /// Largest norm of the whole gradient; absent: not clipped.
    pub clip_norm: Option<f32>,
    /// Steps between evaluations; absent: once per epoch.
    pub eval_every: Option<u64>,
    /// By what the best checkpoint is chosen; absent: what is usual for what is learned.
    #[serde(with = "metrics::by_name")]
    pub metric: Option<&'static Metric>,
    /// Evaluations in a row that may be no better than the best; absent: any number.
    pub patience: Option<u64>,
    /// Steps between checkpoints; absent: at every evaluation.
    pub save_every: Option<u64>,
    /// Checkpoints kept, besides the best.
    pub keep: usize,
    /// When the stage is done.
    pub budget: Budget,
    /// The optimiser.
    pub optimizer: OptimizerKind,
    /// Score and write an exponential moving average of the parameters, of which each step counts so much of
    /// the next; absent: the parameters themselves.
    pub ema: Option<f64>,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// This stage's own dropout; absent: the model's.
    pub dropout: Option<Dropout>,
    /// Micro-batches of `batch` texts per step.
    pub accumulate: usize,
    /// What activations and their gradients are held in.
    pub precision: Precision,
    /// Compute each layer's activations again on the way back instead of keeping them.
    pub checkpointing: bool,
    /// Parameters that are not trained: parts, as "embeddings, layer.0-7", or a regex.
    pub freeze: Option<String>,
    /// Factor of the learning rate from each layer to the one below it.
    pub layer_decay: Option<f64>,
    /// Factors of the learning rate, by regex; those that match a name multiply.
    pub rates: BTreeMap<String, f64>,
    /// Begin with the head alone and train one more layer every so often, from the top down.
    pub unfreeze_every: Option<UnfreezeEvery>,
    /// Train a low-rank adapter instead of the model.
    pub lora: Option<Lora>,
}

impl StageConfig {
    /// Reads a stage's table: what the objective knows is its own, the rest is every stage's.
    pub(super) fn read(mut table: Table) -> std::result::Result<StageConfig, Fault> {
        let Some(name) = table.remove(OBJECTIVE) else {
            return Err(Fault::missing_field(OBJECTIVE));
        };
        let objective = match name.as_str() {
            Some(name) => objectives::find(name).ok_or_else(|| {
                Fault::unknown_choice(name, OBJECTIVES.iter().map(Registered::name).collect())
            }),
            None => Err(Fault::wrong_type("the name of an objective", &name)),
        };
        let objective = objective.map_err(|fault| fault.inside(OBJECTIVE))?;
        // Before the keys: a wrong objective makes others wrong.
        if let Some(kind) = table.get("kind") {
            let kind = StageKind::deserialize(Read(kind.clone()));
            let kind = kind.map_err(|fault| fault.inside("kind"))?;
            let fits = kind.fits(&objective.standard()).map_err(Fault::custom);
            fits.map_err(|fault| fault.inside(OBJECTIVE))?;
        }
        let (own, shared): (Table, Table) = table
            .into_iter()
            .map(|(key, value)| {
                let value = merge::of_kind(&key, value);
                (key, value)
            })
            .partition(|(key, _)| objective.keys().contains(&key.as_str()));
        if let Some(key) = shared
            .keys()
            .find(|key| !shared_keys().contains(&key.as_str()))
        {
            return Err(foreign(key, objective));
        }
        let missing = ["name", "kind"]
            .into_iter()
            .find(|key| !shared.contains_key(*key));
        let mut stage = StageConfig::deserialize(Read(Value::Table(shared)))?;
        if let Some(key) = missing {
            return Err(Fault::missing_field(key));
        }
        stage.objective = objective.read(own)?;
        Ok(stage)
    }

    /// The keys whose values are not what they are by default.
    pub(super) fn changed(&self) -> Result<Vec<String>> {
        let table = |stage: &StageConfig| {
            Table::try_from(stage).map_err(|e| Error::ConfigValue {
                place: format!("stage.{}", self.name),
                message: format!("cannot be written as TOML: {e}"),
            })
        };
        let untouched = StageConfig::new(&self.name, self.kind, self.objective.clone());
        let (mut own, untouched) = (table(self)?, table(&untouched)?);
        own.retain(|key, value| untouched.get(key) != Some(value));
        Ok(own.keys().cloned().collect())
    }

    /// The objective's options, where it is an `O`.
    pub fn options<O: Objective>(&self) -> Option<&O> {
        self.objective.get()
    }

    /// The dropout in force: the stage's own, or the model's.
    pub fn dropout(&self, model: &LstmModel) -> Dropout {
        self.dropout.unwrap_or(model.dropout)
    }
}

const OBJECTIVE: &str = "objective";

/// The keys that every stage has, `objective` aside.
pub(super) fn shared_keys() -> &'static [&'static str] {
    schema::keys(StageConfig::deserialize)
}

/// Whether a stage of a run file may hold a key; any key, where its objective is yet to be settled.
pub(super) fn may_hold(stage: &Table, key: &str) -> bool {
    let name = stage.get(OBJECTIVE).and_then(Value::as_str);
    let objective = name.and_then(objectives::find);
    key == OBJECTIVE
        || shared_keys().contains(&key)
        || objective.is_none_or(|o| o.keys().contains(&key))
}

/// What to say of a key that a stage of this objective does not have.
fn foreign(key: &str, objective: &Registered) -> Fault {
    let owners = objectives::owners(key);
    if owners.is_empty() {
        return Fault::unknown_key(key, known_keys([objective]));
    }
    let message = format!(
        "belongs to {}, and the stage's objective is {}; leave it out",
        owners.join(", "),
        objective.name()
    );
    Fault::custom(message).inside(key)
}

/// The keys of stages with these objectives.
pub(super) fn known_keys<'a>(
    objectives: impl IntoIterator<Item = &'a Registered>,
) -> Vec<&'static str> {
    let mut keys = shared_keys().to_vec();
    keys.insert(2.min(keys.len()), OBJECTIVE);
    for key in objectives.into_iter().flat_map(|o| o.keys()) {
        if !keys.contains(key) {
            keys.push(key);
        }
    }
    keys
}

impl Serialize for StageConfig {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        StageConfig::serialize(self, to)
    }
}

/// [`RunConfig::parse`](super::RunConfig::parse) reads stages itself, so that faults have their
/// places.
impl<'de> Deserialize<'de> for StageConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let table = Table::deserialize(from)?;
        StageConfig::read(table).map_err(|fault| D::Error::custom(fault.into_error("stage")))
    }
}

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// Train on text without labels.
    Pretrain,
    /// Train on labelled text, and test.
    Finetune,
    /// Only test the weights named by `init`.
    Evaluate,
}

impl StageKind {
    /// Refuses an objective that has labels where the stage has none, and the other way round.
    pub(in crate::train) fn fits(
        self,
        objective: &AnyObjective,
    ) -> std::result::Result<(), String> {
        let (begin, labels) = match self {
            Self::Pretrain => ("a pretrain stage has no labels", false),
            Self::Finetune => ("a finetune stage learns labels", true),
            Self::Evaluate => return Ok(()),
        };
        if objective.is_supervised() == labels {
            return Ok(());
        }
        let others = objectives::listed(|o| o.is_supervised() == labels);
        Err(format!("{begin}: expected {others}"))
    }
}

/// What activations and their gradients are held in; parameters in training are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, with a loss scale that follows the gradients.
    F16,
}

/// Weights that a later stage can take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Word embeddings.
    Embedding,
    /// LSTM weights and biases.
    Lstm,
}

impl Part {
    /// What the names of its tensors begin with, before a dot.
    pub fn prefix(self) -> &'static str {
        match self {
            Part::Embedding => lstm::EMBEDDING,
            Part::Lstm => lstm::LSTM,
        }
    }
}

/// Which text a pretrain stage reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextChoice {
    /// Text without labels where the data have some, the training texts otherwise.
    #[default]
    Auto,
    /// Only text without labels; where none has any, that of `unlabelled`.
    Unlabelled,
    /// Only the training texts of `path`, their labels unread (the fold's, under `folds`).
    Train,
    /// Both.
    All,
}

/// When a stage is done: exactly one of the three.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// Optimiser steps.
    Steps(u64),
    /// Passes over the stage's training data; fractions are allowed.
    Epochs(f64),
    /// Tokens read.
    Tokens(u64),
}

impl Default for Budget {
    fn default() -> Self {
        Self::Epochs(1.0)
    }
}

/// Until its keys are read. `name` and `kind` must be there, which [`StageConfig::read`] sees to.
fn unread() -> StageConfig {
    StageConfig::new("", StageKind::Pretrain, OBJECTIVES[0].standard())
}
