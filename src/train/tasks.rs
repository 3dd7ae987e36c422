//! Where stages become models on a GPU.

use std::path::Path;

use super::estimate::AdapterLimits;
use super::run::Model;
use super::task::{Task, TaskRequest};
use crate::error::{Error, Result};

/// Builds the task of one unit.
///
/// # Errors
/// Whatever the data, the files or the device report.
pub fn build_task(request: &TaskRequest<'_>) -> Result<Box<dyn Task>> {
    Err(Error::NoSteps {
        unit: request.unit.name.clone(),
        reason: "this build has no objectives".into(),
    })
}

/// Opens a model folder for `melos eval` and `melos predict`.
///
/// # Errors
/// Whatever the files or the device report.
pub fn open_model(folder: &Path, adapter: Option<&str>) -> Result<Box<dyn Model>> {
    let _ = adapter;
    Err(Error::Folder {
        path: folder.to_path_buf(),
        problem: "this build has no objectives".into(),
    })
}

/// Limits of the adapter that would be used, where there is one.
pub fn adapter_limits(adapter: Option<&str>) -> Option<AdapterLimits> {
    let _ = adapter;
    None
}
