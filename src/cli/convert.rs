//! `melos convert`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::choice::choice;
use super::output;
use crate::error::{Error, Result};
use crate::hub::gguf::{self, Quant};
use crate::hub::{self, Checkpoint, FloatType, SaveOptions, adapter};
use crate::models;
use crate::train::run::model_of_run;

/// Rewrite a model: other names, element type, class or shards, as a folder or as one GGUF file.
///
/// Without options the result is what today's transformers would write, whatever the input's age; an OUT that
/// ends in .gguf is a file for llama.cpp and what is built on it.
#[derive(Debug, Args)]
pub struct Convert {
    /// Model folder, run folder, .safetensors file with its config.json beside it, .gguf file; or an adapter's
    /// folder or .gguf file, which becomes the other.
    input: PathBuf,
    /// Folder to write, which must be new or empty; or a new file, NAME.gguf.
    out: PathBuf,
    /// How a .gguf file packs numbers: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k_s, q4_k_m, q5_k_s,
    /// q5_k_m, q6_k [default: the input's element type].
    #[arg(long, value_name = "TYPE", value_parser = parse_quant)]
    quant: Option<Quant>,
    /// The model that an adapter is for [default: the one that the adapter's folder names].
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    /// Class of transformers to write: the tensors that it does not have are left out [default: the
    /// input's].
    #[arg(long = "as", value_name = "CLASS")]
    architecture: Option<String>,
    /// Prefix of the model's names [default: as transformers has it, none for a class without head].
    #[arg(long, value_name = "WHAT")]
    prefix: Option<Prefix>,
    /// Names as the first releases had them (LayerNorm.gamma, LayerNorm.beta).
    #[arg(long)]
    legacy_names: bool,
}

/// Options of all commands that write models.
#[derive(Debug, Args)]
pub(super) struct Format {
    /// Element type of the weights [default: the input's].
    #[arg(long, value_name = "TYPE", value_parser = choice::<FloatType>(FloatType::NAMES))]
    dtype: Option<FloatType>,
    /// Split files above this size.
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    max_shard_size: u64,
}

impl Format {
    pub(super) fn options(&self) -> SaveOptions {
        SaveOptions {
            dtype: self.dtype,
            max_shard_bytes: self.max_shard_size,
            ..SaveOptions::default()
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Prefix {
    /// With it.
    Add,
    /// Without it.
    Drop,
}

impl Convert {
    pub(super) fn run(self) -> Result<()> {
        let folder = model_of_run(&self.input)?;
        let into_file = gguf::is_gguf(&self.out);
        if into_file && models::is_adapter(&folder) {
            return self.adapter_into_file(&folder);
        }
        if gguf::is_gguf(&folder) && gguf::is_adapter_file(&folder)? {
            return self.adapter_of_file(&folder);
        }
        if self.base.is_some() {
            return Err(Error::value(
                "--base",
                "is for adapters from and into .gguf files",
            ));
        }
        let input = models::open(&folder)?;
        if into_file {
            return self.gguf(&input);
        }
        if self.quant.is_some() {
            let message = "is for files that end in .gguf; a folder's element type is --dtype";
            return Err(Error::value("--quant", message));
        }
        let architecture = self.architecture.as_deref().map(models::architecture);
        let options = SaveOptions {
            bare: self.prefix.map(|prefix| matches!(prefix, Prefix::Drop)),
            legacy_names: self.legacy_names,
            ..self.format.options()
        };
        let (class, report) = hub::convert(&input, &self.out, architecture.transpose()?, &options)?;
        let (class, out) = (class.name(), self.out.display());
        output::print(&format!("{report}{class} in {out}\n"))
    }

    /// Refuses options that are for folders of models.
    fn only_for_models(&self, message: &str) -> Result<()> {
        let given = [
            ("--as", self.architecture.is_some()),
            ("--prefix", self.prefix.is_some()),
            ("--legacy-names", self.legacy_names),
            ("--dtype", self.format.dtype.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::value(option, message)),
            None => Ok(()),
        }
    }

    fn adapter_into_file(&self, folder: &Path) -> Result<()> {
        self.only_for_adapters()?;
        let adapter = adapter::read(folder)?;
        let base = match &self.base {
            Some(base) => model_of_run(base)?,
            None => adapter.base_folder()?,
        };
        gguf::export_adapter(&models::open(&base)?, &adapter, &self.out)?;
        output::print(&format!("adapter in {}\n", self.out.display()))
    }

    fn adapter_of_file(&self, file: &Path) -> Result<()> {
        self.only_for_adapters()?;
        let message =
            "is not set; name the folder or .gguf file of the model that this file adapts";
        let base = self
            .base
            .as_ref()
            .ok_or_else(|| Error::value("--base", message))?;
        gguf::import_adapter(&models::open(&model_of_run(base)?)?, file, &self.out)?;
        output::print(&format!("adapter in {}\n", self.out.display()))
    }

    fn only_for_adapters(&self) -> Result<()> {
        let message = "is for models; an adapter's numbers are f32";
        if self.quant.is_some() {
            return Err(Error::value("--quant", message));
        }
        self.only_for_models(message)
    }

    fn gguf(&self, input: &Checkpoint) -> Result<()> {
        self.only_for_models("is for folders; a .gguf file's types are --quant")?;
        let quant = self.quant.unwrap_or_else(|| Quant::of(input.float_type()));
        let report = gguf::export(input, &self.out, quant)?;
        output::print(&format!("{report}{quant} in {}\n", self.out.display()))
    }
}

fn parse_quant(text: &str) -> Result<Quant, String> {
    let known = || Quant::names().collect::<Vec<_>>().join(", ");
    Quant::named(text).ok_or_else(|| format!("expected one of {}", known()))
}

/// `5GB`, `200 MB`, `1000`: as transformers has it, in powers of 1000.
fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        other => return Err(format!("'{other}' is no unit; use B, KB, MB, GB or TB")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a size as 5GB".to_string())?;
    match number.checked_mul(unit) {
        Some(size) if size > 0 => Ok(size),
        _ => Err("expected a size above 0 and below 16 million TB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_transformers_reads_them() {
        assert_eq!(parse_size("5GB"), Ok(hub::MAX_SHARD_BYTES));
        assert_eq!(parse_size("200 mb"), Ok(200_000_000));
        assert_eq!(parse_size("1000"), Ok(1000));
        for wrong in ["", "GB", "5 gib", "0", "-1", "99999999999 TB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
