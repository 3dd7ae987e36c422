//! "token_classify": the label of every word.

use serde::{Deserialize, Serialize};

use super::classify::check_smoothing;
use super::{AnyObjective, KeptEnd, LENGTH, Labels, Objective, Problem, WrongOption, check_length};
use crate::hub::Head;

/// Predicts a label for every word of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: KeptEnd,
    /// Share of a target's probability that is spread evenly over all classes in training
    /// (Szegedy et al. 2016, section 7).
    pub label_smoothing: f32,
}

impl Words {
    /// Its name in the run file.
    pub const NAME: &'static str = "token_classify";
}

impl Default for Words {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: KeptEnd::default(),
            label_smoothing: 0.0,
        }
    }
}

impl Objective for Words {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the label of every word"
    }

    fn labels(&self) -> Labels {
        Labels::OfWords
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Token)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn kept_end(&self) -> KeptEnd {
        self.kept_end
    }

    fn scoring(&self, max_len: usize, _: Problem) -> Option<AnyObjective> {
        let scoring = Words {
            max_len,
            kept_end: KeptEnd::Head,
            ..Words::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_smoothing(self.label_smoothing)
    }
}
