//! `melos doctor` on data.

use std::process::ExitCode;

use super::output;
use crate::error::Result;
use crate::train::config::RunConfig;
use crate::train::survey;

/// Says what is in the data of a run.
pub(super) fn run(config: &RunConfig, json: bool) -> Result<ExitCode> {
    let survey = survey::survey(config)?;
    output::show(json, &survey, || survey.table())?;
    Ok(ExitCode::SUCCESS)
}
