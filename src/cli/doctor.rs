//! `melos doctor`.

use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::doctor::{Options, examine};
use crate::error::Result;

/// Check every kernel on this adapter against its reference, and time it.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Index or part of a name of `melos devices` [default: the preferred one, or MELOS_ADAPTER].
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,
    /// Leave out the training steps that are only timed.
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of the table: for a report.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<ExitCode> {
        let options = Options {
            adapter: self.adapter,
            steps: !self.quick,
            keep: true,
        };
        let report = examine(&options, &mut |what| output::note(what))?;
        output::show(self.json, &report, || report.table())?;
        Ok(ExitCode::from(u8::from(!report.is_right())))
    }
}
