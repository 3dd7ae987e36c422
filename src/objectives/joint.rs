//! "joint": a classifier that learns the text at the same time.

use serde::{Deserialize, Serialize};

use super::{KeptEnd, LENGTH, Labels, Objective, WrongOption, check_length, require};

/// Predicts the label of a text and, at the same time, what `auxiliary` does (Dai & Le 2015,
/// section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Joint {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: KeptEnd,
    /// The second objective.
    pub auxiliary: Option<Auxiliary>,
    /// Weight of the second objective's loss.
    pub auxiliary_weight: f32,
}

/// The second objective of joint training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auxiliary {
    /// Next token.
    Lm,
    /// Sequence autoencoder.
    Sa,
}

impl Joint {
    /// Its name in the run file.
    pub const NAME: &'static str = "joint";
}

impl Default for Joint {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: KeptEnd::default(),
            auxiliary: None,
            auxiliary_weight: 1.0,
        }
    }
}

impl Objective for Joint {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the label of a text and, at the same time, the text"
    }

    fn labels(&self) -> Labels {
        Labels::OfTexts
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn kept_end(&self) -> KeptEnd {
        self.kept_end
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        let weight = self.auxiliary_weight;
        require(
            weight > 0.0 && weight.is_finite(),
            "auxiliary_weight",
            "should be a positive number",
        )?;
        require(
            self.auxiliary.is_some(),
            "auxiliary",
            "is needed: \"lm\" or \"sa\", what is learned beside the label",
        )
    }
}
