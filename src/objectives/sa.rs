//! "sa": a sequence autoencoder.

use serde::{Deserialize, Serialize};

use super::{KeptEnd, LENGTH, Labels, Objective, WrongOption, check_length};

/// Reads a text, then writes it (Dai & Le 2015, section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sa {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: KeptEnd,
}

impl Sa {
    /// Its name in the run file.
    pub const NAME: &'static str = "sa";
}

impl Default for Sa {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: KeptEnd::default(),
        }
    }
}

impl Objective for Sa {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "to write the text that was read"
    }

    fn labels(&self) -> Labels {
        Labels::None
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn kept_end(&self) -> KeptEnd {
        self.kept_end
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)
    }
}
