//! Run files: TOML in, [`RunConfig`] out, or an error that names the key and its place.
//!
//! The order in which a run file comes together: the file (or preset), then `[scale.NAME]`
//! where one is asked for, then each `--set`, then `[defaults.KIND]` under the stages.

mod data;
mod merge;
mod model;
mod new;
mod paths;
mod presets;
mod rates;
mod stage;
mod tuning;
mod types;
mod validate;
mod validate_tuning;

pub use crate::hub::adapter::Targets;
pub use crate::objectives::{Auxiliary, Problem};
pub use crate::optim::OptimizerKind;
pub use crate::text::{Keep, MaskRate, Masking, RateShape};
pub use model::{
    Dropout, LstmModel, ModelConfig, ModelKind, PictureNet, PretrainedModel, TransformerModel,
    model_kinds,
};
pub use presets::{PRESETS, Preset, preset};
pub use rates::{Rate, Rates};
pub use stage::{Budget, Part, Precision, StageConfig, StageKind, TextChoice};
pub use tuning::{Lora, LoraInit, UnfreezeEvery};
pub use types::*;

use std::path::Path;

use toml::{Table, Value};

use crate::bounded;
use crate::error::{Error, Result};
use crate::schema::{self, Fault, nearest};

/// Bytes of a run file: more than anybody writes.
const RUN_FILE: u64 = 1 << 20;

/// What the user may change without writing a file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--scale NAME`: the run file's `[scale.NAME]` is laid over it.
    pub scale: Option<String>,
    /// `--lr` and its like: `key=value` of the stages that fine-tune, or of all that pretrain where none
    /// does.
    pub main: Vec<String>,
    /// `--set key=value`, in order.
    pub set: Vec<String>,
}

impl Overrides {
    /// What `set` says of a key, dotted.
    ///
    /// # Errors
    /// [`Error::ConfigSyntax`] for a setting that is no `key=value`.
    pub fn value(&self, key: &str) -> Result<Option<Value>> {
        let mut found = None;
        for text in &self.set {
            let mut at = Some(Value::Table(merge::parse_set(text)?));
            for part in key.split('.') {
                at = at.and_then(|table| table.get(part).cloned());
            }
            found = at.or(found);
        }
        Ok(found)
    }
}

impl RunConfig {
    /// Reads a run file from disk.
    ///
    /// # Errors
    /// [`Error::Io`], or any of the `Config…` errors.
    pub fn read(path: &Path, overrides: &Overrides) -> Result<Self> {
        let text = bounded::read_text(path, RUN_FILE)?;
        Self::parse(&text, &path.display().to_string(), overrides)
    }

    /// Reads a run file's text; `file` names it in errors.
    ///
    /// # Errors
    /// Any of the `Config…` errors, each naming the key's full path.
    pub fn parse(text: &str, file: &str, overrides: &Overrides) -> Result<Self> {
        let mut table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| Error::ConfigSyntax {
                file: file.to_string(),
                message: e.to_string().trim_end().to_string(),
            })?;
        let scales = take_scales(&mut table)?;
        let mut merge = merge::Merge::of(table);
        if let Some(wanted) = &overrides.scale {
            let Some((_, over)) = scales.iter().find(|(name, _)| name == wanted) else {
                let known = scales.iter().map(|(name, _)| name.as_str());
                return Err(unknown_name("scale", wanted, known));
            };
            merge.overlay(over.clone())?;
        }
        for text in &overrides.main {
            for stage in merge.main_stages() {
                merge.overlay(merge::parse_set(&format!("stage.{stage}.{text}"))?)?;
            }
        }
        for text in &overrides.set {
            merge.overlay(merge::parse_set(text)?)?;
        }
        let config = Self::read_table(merge.finish()?).map_err(|fault| fault.into_error(file))?;
        config.check()?;
        Ok(config)
    }

    /// The stages that fine-tune, or those that pretrain where none does.
    pub fn main_stages(&self) -> Vec<&StageConfig> {
        let kinds = [StageKind::Finetune, StageKind::Pretrain];
        let of_kind = |kind| self.stages.iter().filter(move |s| s.kind == kind).collect();
        let mut found = kinds.into_iter().map(of_kind);
        found
            .find(|stages: &Vec<_>| !stages.is_empty())
            .unwrap_or_default()
    }

    fn read_table(mut table: Table) -> std::result::Result<Self, Fault> {
        let stages = match table.remove("stage") {
            None => Vec::new(),
            Some(Value::Array(stages)) => stages,
            Some(other) => {
                let fault = Fault::wrong_type("tables, as [[stage]]", &other);
                return Err(fault.inside("stage"));
            }
        };
        let model = match table.remove("model") {
            None => ModelConfig::default(),
            Some(Value::Table(model)) => {
                ModelConfig::read(model).map_err(|fault| fault.inside("model"))?
            }
            Some(other) => {
                return Err(Fault::wrong_type("a table, as [model]", &other).inside("model"));
            }
        };
        let mut config: Self = schema::read(table)?;
        config.model = model;
        for (index, stage) in stages.into_iter().enumerate() {
            // Stages go by their names, as in `--set`.
            let place = merge::stage_name(&stage).map_or(index.to_string(), str::to_string);
            let stage = match stage {
                Value::Table(stage) => StageConfig::read(stage),
                other => Err(Fault::wrong_type("a table of keys", &other)),
            };
            let stage = stage.map_err(|fault| fault.inside(&place).inside("stage"))?;
            config.stages.push(stage);
        }
        Ok(config)
    }

    /// The run file that holds exactly this configuration.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] where a value has no TOML form (an integer above 2⁶³ − 1).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self)
            .map_err(|e| Error::value(self.name.clone(), format!("cannot be written as TOML: {e}")))
    }
}

fn take_scales(table: &mut Table) -> Result<Vec<(String, Table)>> {
    let Some(scales) = table.remove("scale") else {
        return Ok(Vec::new());
    };
    let wrong = |found: &Value| {
        Fault::wrong_type("tables by name, as [scale.small]", found).into_error("scale")
    };
    let Value::Table(scales) = scales else {
        return Err(wrong(&scales));
    };
    scales
        .into_iter()
        .map(|(name, over)| match over {
            Value::Table(over) => Ok((name, over)),
            other => Err(wrong(&other)),
        })
        .collect()
}

/// An [`Error::UnknownName`] with its suggestion.
pub(crate) fn unknown_name<'a>(
    what: &'static str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    Error::UnknownName {
        what,
        name: name.to_string(),
        suggestion: nearest(name, known.iter().copied()),
        known: if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        },
    }
}
