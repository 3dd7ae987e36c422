//! "clm": a causal language model.

use serde::{Deserialize, Serialize};

use super::{AnyObjective, LENGTH, Labels, Objective, Problem, WrongOption, check_length};
use crate::hub::Head;

/// Predicts the next token from those before it in the sequence (Radford et al. 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clm {
    /// Tokens of a sequence.
    pub max_len: usize,
    /// Fill sequences with text up to `max_len` instead of one text each.
    pub packing: bool,
}

impl Clm {
    /// Its name in the run file.
    pub const NAME: &'static str = "clm";
}

impl Default for Clm {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            packing: false,
        }
    }
}

impl Objective for Clm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the next token"
    }

    fn labels(&self) -> Labels {
        Labels::None
    }

    fn head(&self) -> Option<Head> {
        Some(Head::CausalLm)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn scoring(&self, max_len: usize, _: Problem) -> Option<AnyObjective> {
        let scoring = Clm {
            max_len,
            packing: true,
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)
    }
}
