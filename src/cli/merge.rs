//! `melos merge`.

use std::path::PathBuf;

use clap::Args;

use super::convert::Format;
use super::output;
use crate::atomic::write_file;
use crate::error::Result;
use crate::hub::{self, SaveOptions, adapter};
use crate::models;
use crate::train::artifacts::card;
use crate::train::run::model_of_run;

/// Merge a LoRA adapter into its base model: one model that needs no adapter.
#[derive(Debug, Args)]
pub struct Merge {
    /// The base model's folder, or that of the run it comes from.
    base: PathBuf,
    /// The adapter's folder (PEFT's adapter_config.json and adapter_model.safetensors), or its run's.
    adapter: PathBuf,
    /// Folder to write; must be new or empty.
    out: PathBuf,
    #[command(flatten)]
    format: Format,
}

impl Merge {
    pub(super) fn run(self) -> Result<()> {
        hub::require_empty(&self.out)?;
        let (base_folder, adapter_folder) =
            (model_of_run(&self.base)?, model_of_run(&self.adapter)?);
        let base = models::open(&base_folder)?;
        let adapter = adapter::read(&adapter_folder)?;
        let (model, report) = adapter::merge(&base, &adapter)?;
        let given = self.format.options();
        let options = SaveOptions {
            dtype: Some(given.dtype.unwrap_or(base.float_type())),
            ..given
        };
        hub::save(&self.out, &model, &options)?;
        let card = card::merged(&base_folder, &adapter_folder)?;
        write_file(&self.out.join(hub::CARD), card.as_bytes())?;
        let (class, out) = (model.architecture.name(), self.out.display());
        output::print(&format!("{report}{class} in {out}\n"))
    }
}
