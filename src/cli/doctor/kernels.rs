//! `melos doctor` on kernels.

use std::process::ExitCode;

use super::output;
use crate::doctor::{Options, examine};
use crate::error::Result;

/// Checks every kernel on an adapter, and times the training steps unless it is to be `quick`.
pub(super) fn run(adapter: Option<String>, quick: bool, json: bool) -> Result<ExitCode> {
    let options = Options {
        adapter,
        steps: !quick,
        keep: true,
    };
    let report = examine(&options, &mut |what| output::note(what))?;
    output::show(json, &report, || report.table())?;
    Ok(ExitCode::from(u8::from(!report.is_right())))
}
