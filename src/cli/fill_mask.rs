//! `melos fill-mask`.

use std::path::PathBuf;

use clap::Args;

use super::model_options::ModelOptions;
use super::output;
use crate::error::Result;
use crate::inference::{FillMask as Filler, Guess};

/// Guess the tokens behind [MASK] in a text.
#[derive(Debug, Args)]
pub struct FillMask {
    /// Model folder, an adapter's, or a run's (its best model).
    model: PathBuf,
    /// The text, with [MASK] where tokens are to be guessed.
    text: String,
    /// How many guesses for each mask.
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// One JSON object per mask.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl FillMask {
    pub(super) fn run(self) -> Result<()> {
        let model = self.options.open(&self.model, Filler::open)?;
        let line = |g: &Guess| format!("{:.4}  {}\t{}\n", g.score, g.token_str, g.sequence);
        (model.fill(&self.text, self.top)?.iter())
            .try_for_each(|b| output::show(self.json, b, || b.guesses.iter().map(line).collect()))
    }
}
