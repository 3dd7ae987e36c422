//! The networks of a run file: `[model]` with its `kind`.

mod lstm;
mod transformer;

pub use lstm::{Dropout, LstmModel};
pub use transformer::{Activation, PretrainedModel, TransformerModel};

use serde::{Deserialize, Serialize};

use super::StageConfig;
use crate::error::Result;

/// What stages can do with a kind of network: what a kind states of itself.
#[derive(Debug)]
pub struct ModelKind {
    /// Its name in the run file.
    pub name: &'static str,
    /// The objectives that it learns.
    pub objectives: &'static [&'static str],
    /// The keys of a stage that it takes, of those that not every kind does.
    pub keys: &'static [&'static str],
    /// Whether it reads pairs of texts.
    pub pairs: bool,
    /// The keys of its table.
    sizes: fn() -> &'static [&'static str],
}

impl ModelKind {
    /// Whether `[model]` has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        (self.sizes)().contains(&key)
    }
}

/// All kinds of networks.
pub const MODEL_KINDS: &[&ModelKind] = &[
    &lstm::KIND,
    &transformer::BERT,
    &transformer::GPT2,
    &transformer::PRETRAINED,
];

/// The network, one table for each kind. Without a `kind` it is the LSTM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", from = "ByKind")]
pub enum ModelConfig {
    /// The LSTM, as Dai & Le (2015) vary it.
    Lstm(LstmModel),
    /// BERT (Devlin et al. 2019), from random weights.
    Bert(TransformerModel),
    /// GPT-2 (Radford et al. 2019), from random weights.
    Gpt2(TransformerModel),
    /// The BERT or GPT-2 in the folder that each stage's `init` names.
    Pretrained(PretrainedModel),
}

/// As it is read: the reader takes the kind out of the table, so that errors name keys below it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByKind {
    Lstm(LstmModel),
    Bert(TransformerModel),
    Gpt2(TransformerModel),
    Pretrained(PretrainedModel),
}

impl From<ByKind> for ModelConfig {
    fn from(model: ByKind) -> Self {
        match model {
            ByKind::Lstm(model) => Self::Lstm(model),
            ByKind::Bert(model) => Self::Bert(model),
            ByKind::Gpt2(model) => Self::Gpt2(model),
            ByKind::Pretrained(model) => Self::Pretrained(model),
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Lstm(LstmModel::default())
    }
}

impl ModelConfig {
    /// The LSTM, where it is one.
    pub fn lstm(&self) -> Option<&LstmModel> {
        match self {
            Self::Lstm(model) => Some(model),
            _ => None,
        }
    }

    /// The kind of network.
    pub fn kind(&self) -> &'static ModelKind {
        match self {
            Self::Lstm(_) => &lstm::KIND,
            Self::Bert(_) => &transformer::BERT,
            Self::Gpt2(_) => &transformer::GPT2,
            Self::Pretrained(_) => &transformer::PRETRAINED,
        }
    }

    /// Checks the sizes, and what the stages would do with them.
    pub(super) fn check(&self, stages: &[StageConfig]) -> Result<()> {
        match self {
            Self::Lstm(model) => model.check(stages),
            Self::Bert(model) | Self::Gpt2(model) => model.check(),
            Self::Pretrained(model) => model.check(),
        }
    }
}
