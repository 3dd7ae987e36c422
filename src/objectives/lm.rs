//! "lm": a language model that carries its state from window to window.

use serde::{Deserialize, Serialize};

use super::{LENGTH, Labels, Objective, WrongOption, check_length};

/// Predicts the next token of text that is read window by window (Dai & Le 2015, section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lm {
    /// Truncated backpropagation through time: tokens per window.
    pub bptt: usize,
}

impl Lm {
    /// Its name in the run file.
    pub const NAME: &'static str = "lm";
}

impl Default for Lm {
    fn default() -> Self {
        Self { bptt: LENGTH }
    }
}

impl Objective for Lm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the next token, window by window"
    }

    fn labels(&self) -> Labels {
        Labels::None
    }

    fn length(&self) -> usize {
        self.bptt
    }

    fn fills(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("bptt", self.bptt)
    }
}
