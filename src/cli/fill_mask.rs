//! `melos fill-mask`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::error::Result;
use crate::inference::FillMask as Filler;
use crate::train::{run, tasks};

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
    /// Base model of an adapter [default: where the adapter says].
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Adapter, by part of its name or by its number in `melos devices`; MELOS_ADAPTER does the same.
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

impl FillMask {
    pub(super) fn run(self) -> Result<ExitCode> {
        let folder = run::resolve_model(&self.model)?;
        let gpu = tasks::open_gpu(self.adapter.as_deref())?;
        let model = Filler::open(gpu, &folder, self.base.as_deref())?;
        for blank in model.fill(&self.text, self.top)? {
            if self.json {
                output::print_json(&blank)?;
                continue;
            }
            let lines = blank.guesses.iter().map(|guess| {
                format!(
                    "{:.4}  {}\t{}\n",
                    guess.score, guess.token_str, guess.sequence
                )
            });
            output::print(&lines.collect::<String>())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
