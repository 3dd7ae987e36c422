//! "classify": the label of a text.

use serde::{Deserialize, Serialize};

use super::{AnyObjective, KeptEnd, LENGTH, Labels, Objective, WrongOption, check_length, require};
use crate::hub::Head;

/// Predicts the label of a text or of a pair of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classify {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: KeptEnd,
    /// What a label is.
    pub problem: Problem,
    /// Share of a target's probability that is spread evenly over all classes in training
    /// (Szegedy et al. 2016, section 7).
    pub label_smoothing: f32,
}

/// What a label is: transformers' `problem_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// One class of several.
    #[default]
    SingleLabel,
    /// Any number of classes, separated by commas in the label column.
    MultiLabel,
    /// A number.
    Regression,
}

impl Classify {
    /// Its name in the run file.
    pub const NAME: &'static str = "classify";
}

impl Default for Classify {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: KeptEnd::default(),
            problem: Problem::default(),
            label_smoothing: 0.0,
        }
    }
}

impl Objective for Classify {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the label of a text"
    }

    fn labels(&self) -> Labels {
        Labels::OfTexts
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Sequence)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn kept_end(&self) -> KeptEnd {
        self.kept_end
    }

    fn problem(&self) -> Problem {
        self.problem
    }

    fn scoring(&self, max_len: usize, problem: Problem) -> Option<AnyObjective> {
        let scoring = Classify {
            max_len,
            kept_end: KeptEnd::Head,
            problem,
            ..Classify::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_smoothing(self.label_smoothing)?;
        require(
            self.label_smoothing == 0.0 || self.problem == Problem::SingleLabel,
            "label_smoothing",
            "is for texts of one label each (problem = \"single_label\")",
        )
    }
}

/// Checks `label_smoothing`.
pub(super) fn check_smoothing(smoothing: f32) -> Result<(), WrongOption> {
    require(
        (0.0..1.0).contains(&smoothing),
        "label_smoothing",
        "is a share: expected 0 or more and less than 1",
    )
}
