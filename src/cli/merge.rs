//! `melos merge`.

use std::path::PathBuf;

use clap::Args;

use super::convert::Format;
use super::output;
use crate::atomic::write_file;
use crate::error::{Error, Result};
use crate::hub::{self, SaveOptions, adapter};
use crate::models;
use crate::train::artifacts::card;
use crate::train::run::model_of_run;

/// Merge a LoRA adapter, or a weighted sum of several, into their base model: one model that needs no adapter.
#[derive(Debug, Args)]
pub struct Merge {
    /// The base model's folder, or that of the run it comes from.
    base: PathBuf,
    /// The adapter's folder (PEFT's adapter_config.json and adapter_model.safetensors), or its run's.
    adapter: PathBuf,
    /// Folder to write; must be new or empty.
    out: PathBuf,
    /// How much the adapter counts.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    weight: f64,
    /// Another adapter of the same base, and how much it counts, as STYLE:0.5 [default: 1]; may be repeated.
    #[arg(long, value_name = "ADAPTER[:X]", value_parser = parse_weighted)]
    add: Vec<(PathBuf, f64)>,
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
        if !self.weight.is_finite() {
            return Err(Error::value("--weight", "should be a number"));
        }
        let read = |(folder, weight): &(PathBuf, f64)| {
            Ok((adapter::read(&model_of_run(folder)?)?, *weight))
        };
        let others = self.add.iter().map(read).collect::<Result<Vec<_>>>()?;
        let others: Vec<_> = others
            .iter()
            .map(|(other, weight)| (other, *weight))
            .collect();
        let (model, report) = adapter::merge_all(&base, &adapter, self.weight, &others)?;
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

/// A folder, and the number behind its last colon, if one stands there.
pub(super) fn parse_weighted(text: &str) -> Result<(PathBuf, f64), String> {
    match text
        .rsplit_once(':')
        .map(|(path, x)| (path, x.parse::<f64>()))
    {
        Some((path, Ok(weight))) if weight.is_finite() => Ok((path.into(), weight)),
        Some((_, Ok(_))) => Err("expected a finite number behind the colon".into()),
        _ => Ok((text.into(), 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_counts_as_the_number_behind_it_says() {
        let parsed = |text| parse_weighted(text).unwrap();
        assert_eq!(parsed("a/b:0.5"), ("a/b".into(), 0.5));
        assert_eq!(parsed("a:b/c"), ("a:b/c".into(), 1.0));
        assert_eq!(parsed("a:-2"), ("a".into(), -2.0));
        assert!(parse_weighted("a:inf").is_err());
    }
}
