//! `melos profile`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::run_options::RunOptions;
use crate::error::Result;
use crate::train::artifacts::trace;
use crate::train::profile;
use crate::train::tasks::TaskFactory;

/// Say where the time of a run's training steps goes, kernel by kernel; nothing is kept.
#[derive(Debug, Args)]
pub struct Profile {
    #[command(flatten)]
    options: RunOptions,
    /// The stage to profile [default: the first that trains].
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Training steps to profile.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    steps: u64,
    /// Also write every command as Chrome's trace events, for chrome://tracing or Perfetto.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Profile {
    pub(super) fn run(self) -> Result<()> {
        let config = self.options.config()?;
        let options = self.options.probe(self.stage.as_deref(), self.steps);
        let profile = profile::profile(&config, &options, &mut TaskFactory::default())?;
        output::show(self.json, &profile, || profile.table())?;
        match &self.trace {
            Some(path) => trace::write(path, &profile),
            None => Ok(()),
        }
    }
}
