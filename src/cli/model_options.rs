//! The options that say which model answers, of the commands that ask one.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::device::Gpu;
use crate::error::Result;
use crate::train::{run, tasks};

#[derive(Debug, Args)]
pub struct ModelOptions {
    /// Base model of an adapter [default: where the adapter says].
    #[arg(long, value_name = "DIR")]
    pub(super) base: Option<PathBuf>,
    /// Adapter, by part of its name or by its number in `melos devices`; MELOS_ADAPTER does the same.
    #[arg(long, value_name = "NAME|INDEX")]
    pub(super) adapter: Option<String>,
}

impl ModelOptions {
    /// Opens the model of a folder, or the best of a run's.
    pub(super) fn open<T>(
        &self,
        model: &Path,
        open: impl FnOnce(Gpu, &Path, Option<&Path>) -> Result<T>,
    ) -> Result<T> {
        let folder = run::resolve_model(model)?;
        let gpu = tasks::open_gpu(self.adapter.as_deref())?;
        open(gpu, &folder, self.base.as_deref())
    }
}
