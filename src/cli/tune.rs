//! `melos tune`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output;
use super::run_options::RunOptions;
use crate::atomic;
use crate::bounded;
use crate::error::Result;
use crate::train::tasks::{TaskFactory, open_gpu};
use crate::train::tune;

/// Measure which kernel forms are fastest for a run's sizes on this adapter, for all later runs.
#[derive(Debug, Args)]
pub struct Tune {
    #[command(flatten)]
    options: RunOptions,
    /// The stage whose sizes count [default: all that train].
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Training steps of each stage: as many batch lengths as occur in them are measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    steps: u64,
    /// Also write all that is known of this adapter as a table that can be shipped.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Measure nothing: take over such a table of this adapter, driver and version.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "preset", "stage", "export"])]
    import: Option<PathBuf>,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl Tune {
    pub(super) fn run(self) -> Result<()> {
        if let Some(path) = &self.import {
            return self.take_over(path);
        }
        let config = self.options.config()?;
        let options = self.options.probe(self.stage.as_deref(), self.steps);
        let tuned = tune::tune(&config, &options, &mut TaskFactory::default())?;
        if let Some(path) = &self.export {
            atomic::write_file(path, tuned.table.as_bytes())?;
        }
        output::show(self.json, &tuned, || tuned.table())
    }

    fn take_over(&self, path: &Path) -> Result<()> {
        let text = bounded::read_text(path, bounded::SETTINGS)?;
        let gpu = open_gpu(self.options.adapter.as_deref())?;
        let count = gpu.tuning().import(&text, &path.display().to_string())?;
        output::note(&format!("{count} choices taken over for {}", gpu.caps()));
        Ok(())
    }
}
