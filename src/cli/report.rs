//! `melos report`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::error::Result;
use crate::train::page;

/// Make a run's report.html again, from what stands in its folder.
///
/// Every run writes it at its end, and after each stage; this is for a run that goes on right now, and
/// for one of an older melos.
#[derive(Debug, Args)]
pub struct ReportCommand {
    /// The run's folder.
    run: PathBuf,
}

impl ReportCommand {
    pub(super) fn run(self) -> Result<()> {
        let path = page::remake(&self.run)?;
        output::print(&format!("{}\n", path.display()))
    }
}
