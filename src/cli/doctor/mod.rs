//! `melos doctor`: kernels where nothing is named, else data.

mod data;
mod kernels;

use std::process::ExitCode;

use clap::Args;

use super::output;
use super::run_options::RunOptions;
use crate::error::{Error, Result};

/// Check every kernel on this adapter, or say what is in the data of a run.
///
/// Without a run file, a preset or data: every kernel is held to its reference and timed. With one: what
/// is in the data, before hours are spent on them.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    options: RunOptions,
    /// Of kernels: leave out the training steps that are only timed.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of the tables.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.options.named()? {
            None => kernels::run(self.options.adapter, self.quick, self.json),
            Some(_) if self.quick => {
                let message = "is for kernels: leave it out, or the run file and data";
                Err(Error::value("--quick", message))
            }
            Some(config) => data::run(&config, self.json),
        }
    }
}
