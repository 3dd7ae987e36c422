//! The networks of a run file: `[model]` with its `kind`.

mod lstm;
mod picture;
mod transformer;

pub use lstm::{Dropout, LstmModel};
pub use picture::PictureNet;
pub use transformer::{PretrainedModel, TransformerModel};

use serde::de::{Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::StageConfig;
use super::validate::require;
use crate::error::Result;
use crate::models::lstm::LSTM_FAMILY;
use crate::models::{FAMILIES, Family};
use crate::objectives::{AnyObjective, OBJECTIVES};
use crate::schema::{self, Fault};

/// What stages can do with a kind of network: what a kind states of itself.
pub struct ModelKind {
    /// Its name in the run file.
    pub name: &'static str,
    /// The keys of a stage that it takes, of those that not every kind does.
    pub keys: &'static [&'static str],
    /// Whether it reads pairs of texts.
    pub pairs: bool,
    /// Whether it learns an objective.
    learns: Box<dyn Fn(&AnyObjective) -> bool>,
    /// The keys of its table.
    sizes: fn() -> &'static [&'static str],
}

impl ModelKind {
    /// Whether `[model]` has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        (self.sizes)().contains(&key)
    }

    /// Whether it learns an objective, be it registered or a program's own.
    pub fn learns(&self, objective: &AnyObjective) -> bool {
        (self.learns)(objective)
    }

    /// The names of the registered objectives that it learns.
    pub fn objectives(&self) -> Vec<&'static str> {
        let all = OBJECTIVES.iter().map(|o| o.standard());
        all.filter(|o| (self.learns)(o)).map(|o| o.name()).collect()
    }
}

/// All kinds of networks: the LSTM, every family of transformers and of what reads pictures, and what a
/// folder holds.
pub fn model_kinds() -> Vec<ModelKind> {
    let mut kinds = vec![lstm::kind()];
    kinds.extend(transformers().map(transformer::kind));
    kinds.extend(picture::all().map(|(family, model)| picture::kind(family, model)));
    kinds.push(transformer::pretrained());
    kinds
}

/// The network. Without a `kind` it is the LSTM.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelConfig {
    /// The LSTM, as Dai & Le (2015) vary it.
    Lstm(LstmModel),
    /// A transformer from random weights: `model_type` of its family, and its sizes.
    Transformer(&'static str, TransformerModel),
    /// A network that reads pictures, from random weights.
    Picture(PictureNet),
    /// The model in the folder that each stage's `init` names.
    Pretrained(PretrainedModel),
}

const KIND: &str = "kind";

impl ModelConfig {
    /// Reads `[model]`.
    pub(super) fn read(mut table: Table) -> std::result::Result<ModelConfig, Fault> {
        let kind = match table.remove(KIND) {
            None => lstm::NAME.to_string(),
            Some(Value::String(kind)) => kind,
            Some(other) => {
                return Err(Fault::wrong_type("the name of a kind", &other).inside(KIND));
            }
        };
        if let Some(family) = family(&kind) {
            let name = family.format().model_type;
            return Ok(ModelConfig::Transformer(name, schema::read(table)?));
        }
        if let Some((family, model)) = picture::find(&kind) {
            return PictureNet::read(family, model, table).map(ModelConfig::Picture);
        }
        match kind.as_str() {
            lstm::NAME => schema::read(table).map(ModelConfig::Lstm),
            transformer::PRETRAINED => schema::read(table).map(ModelConfig::Pretrained),
            other => {
                let known = model_kinds().iter().map(|kind| kind.name).collect();
                Err(Fault::unknown_choice(other, known))
            }
        }
    }

    /// The LSTM, where it is one.
    pub fn lstm(&self) -> Option<&LstmModel> {
        match self {
            Self::Lstm(model) => Some(model),
            _ => None,
        }
    }

    /// The family that it is to be of, where the run file says so.
    pub fn family(&self) -> Option<&'static dyn Family> {
        match self {
            Self::Transformer(name, _) => family(name),
            Self::Picture(net) => Some(net.family),
            _ => None,
        }
    }

    /// The kind of network.
    pub fn kind(&self) -> ModelKind {
        match (self, self.family()) {
            (Self::Lstm(_), _) => lstm::kind(),
            (Self::Picture(net), _) => net.kind(),
            (_, Some(family)) => transformer::kind(family),
            _ => transformer::pretrained(),
        }
    }

    /// Checks the sizes, and what the stages would do with them.
    pub(super) fn check(&self, stages: &[StageConfig]) -> Result<()> {
        match self {
            Self::Lstm(model) => model.check(stages),
            Self::Transformer(_, model) => model.check(),
            // Its keys were read by its family.
            Self::Picture(_) => Ok(()),
            Self::Pretrained(model) => model.check(),
        }
    }
}

/// The families whose sizes are a transformer's.
fn transformers() -> impl Iterator<Item = &'static dyn Family> {
    let own = LSTM_FAMILY.format().model_type;
    let families = FAMILIES.iter().copied();
    families.filter(move |family| family.format().model_type != own && family.pictures().is_none())
}

/// Refuses what is no probability of dropping.
pub(super) fn require_probability(p: f64, place: impl FnOnce() -> String) -> Result<()> {
    let expected = "is a probability: expected 0 or more and less than 1";
    require((0.0..1.0).contains(&p), place, expected)
}

fn family(name: &str) -> Option<&'static dyn Family> {
    transformers().find(|family| family.format().model_type == name)
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Lstm(LstmModel::default())
    }
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        // By way of the text, where an f32 of 0.1 is written as 0.1.
        let text = match self {
            Self::Lstm(model) => toml::to_string(model),
            Self::Transformer(_, model) => toml::to_string(model),
            Self::Picture(net) => toml::to_string(net.keys()),
            Self::Pretrained(model) => toml::to_string(model),
        };
        let sizes = text.map_err(S::Error::custom)?.parse::<Table>();
        let sizes = sizes.map_err(S::Error::custom)?;
        let mut table = Table::new();
        table.insert(KIND.into(), self.kind().name.into());
        table.extend(sizes);
        table.serialize(to)
    }
}

/// [`RunConfig::parse`](super::RunConfig::parse) reads it itself, so that faults have their places.
impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let table = Table::deserialize(from)?;
        ModelConfig::read(table).map_err(|fault| D::Error::custom(fault.into_error("model")))
    }
}
