//! The options that say which model answers, of the commands that ask one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::merge::parse_weighted;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::Beside;
use crate::train::{run, tasks};

#[derive(Debug, Args)]
pub struct ModelOptions {
    /// Base model of an adapter [default: where the adapter says].
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// LoRA adapter to put on the model, unmerged, and how much it counts, as STYLE:0.5 [default: 1]; may be
    /// repeated.
    #[arg(long, value_name = "ADAPTER[:X]", value_parser = parse_weighted)]
    lora: Vec<(PathBuf, f64)>,
    /// Adapter, by part of its name or by its number in `melos devices`; MELOS_ADAPTER does the same.
    #[arg(long, value_name = "NAME|INDEX")]
    adapter: Option<String>,
}

impl ModelOptions {
    /// Opens the model of a folder, or the best of a run's.
    pub(super) fn open<T>(
        &self,
        model: &Path,
        open: impl FnOnce(Gpu, &Path, Beside<'_>) -> Result<T>,
    ) -> Result<T> {
        let folder = run::resolve_model(model)?;
        self.with(|beside, adapter| open(tasks::open_gpu(adapter)?, &folder, beside))
    }

    /// What belongs to the model beside its folder, and the adapter that it runs on.
    pub(super) fn with<T>(
        &self,
        open: impl FnOnce(Beside<'_>, Option<&str>) -> Result<T>,
    ) -> Result<T> {
        let resolved = |(path, weight): &(PathBuf, f64)| Ok((run::model_of_run(path)?, *weight));
        let adapters: Vec<_> = self.lora.iter().map(resolved).collect::<Result<_>>()?;
        let beside = Beside {
            base: self.base.as_deref(),
            adapters: &adapters,
        };
        open(beside, self.adapter.as_deref())
    }
}
