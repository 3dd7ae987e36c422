//! Where stages become models on a GPU.

use std::path::Path;

use super::estimate::AdapterLimits;
use super::run::Model;
use super::task::{Task, TaskRequest};
use crate::device::{AdapterChoice, Gpu};
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

/// Limits of the adapter that would be used; `None` where there is no adapter at all.
///
/// # Errors
/// An adapter that was asked for by name and is not there.
pub fn adapter_limits(adapter: Option<&str>) -> Result<Option<AdapterLimits>> {
    let choice = AdapterChoice {
        wanted: adapter.map(String::from),
        ..AdapterChoice::default()
    };
    match Gpu::open(&choice) {
        Ok(gpu) => {
            let caps = gpu.caps();
            Ok(Some(AdapterLimits {
                name: caps.name.clone(),
                max_binding: caps.limits.max_storage_buffer_binding_size,
                max_buffer: caps.limits.max_buffer_size,
                // wgpu does not tell.
                memory: None,
            }))
        }
        Err(Error::NoAdapter { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
