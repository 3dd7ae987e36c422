//! `melos lr-find`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::run_options::RunOptions;
use crate::error::Result;
use crate::train::lr_find::{self, Range};
use crate::train::tasks::TaskFactory;

/// Find a learning rate: try rising ones for a few steps and say where the loss falls fastest.
#[derive(Debug, Args)]
pub struct LrFind {
    #[command(flatten)]
    options: RunOptions,
    /// The stage to try them on [default: the first that trains].
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Training steps, each with a higher rate.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    steps: u64,
    /// Rate of the first step.
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    from: f64,
    /// Rate of the last step, which a test that goes beyond all bounds does not reach.
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    to: f64,
    /// Also draw the losses.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl LrFind {
    pub(super) fn run(self) -> Result<()> {
        let config = self.options.config()?;
        let options = self.options.probe(self.stage.as_deref(), self.steps);
        let range = Range {
            from: self.from,
            to: self.to,
        };
        let found = lr_find::find(&config, &options, range, &mut TaskFactory::default())?;
        if let Some(path) = &self.svg {
            found.draw(path)?;
        }
        output::show(self.json, &found, || found.table())
    }
}
