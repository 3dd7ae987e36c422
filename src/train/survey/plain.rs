//! Data of which nothing is said: what would be learned of them.

use std::path::Path;

use toml::Value;

use crate::error::{Error, Result};
use crate::objectives::{Labelled, OBJECTIVES};
use crate::text::corpus;
use crate::text::{Column, Source};
use crate::train::config::{Overrides, RunConfig, StageKind, model_kinds};

/// A run over a file, archive or folder, of one stage that is called "data" and learns what there are labels
/// of, or the text. All else is by default, or as `overrides` say.
///
/// # Errors
/// Those of reading the first rows, and of the overrides.
pub fn plain(path: &Path, overrides: &Overrides) -> Result<RunConfig> {
    let labelled = labelled(path, overrides)?;
    let mut objectives = OBJECTIVES.iter().map(|o| o.standard());
    let objective = objectives.find(|o| o.labels() == labelled);
    let model = objective.as_ref().and_then(|objective| {
        let mut kinds = model_kinds().into_iter();
        kinds.find(|kind| kind.learns(objective))
    });
    let (Some(objective), Some(model)) = (objective, model) else {
        let message = "holds what nothing learns; name a run file or a preset";
        return Err(Error::value("--data", message));
    };
    let kind = [StageKind::Pretrain, StageKind::Finetune];
    let kind = kind.into_iter().find(|kind| kind.fits(&objective).is_ok());
    let kind = Value::try_from(kind.unwrap_or(StageKind::Evaluate)).map_err(|e| {
        let message = format!("cannot be made a run of: {e}");
        Error::value("--data", message)
    })?;
    let tokenizer = if model.pairs { "wordpiece" } else { "word" };
    let text = format!(
        "name = \"data\"\n[tokenizer]\nkind = \"{tokenizer}\"\n[model]\nkind = \"{}\"\n[data]\n\
         source = \"files\"\npath = {}\n[[stage]]\nname = \"data\"\nkind = {kind}\nobjective = \"{}\"\n",
        model.name,
        Value::String(path.display().to_string()),
        objective.name(),
    );
    RunConfig::parse(&text, "--data", overrides)
}

/// What data have labels of.
fn labelled(path: &Path, overrides: &Overrides) -> Result<Labelled> {
    if !path.exists() {
        let path = path.to_path_buf();
        return Err(Error::FileMissing { path });
    }
    if path.is_file() && corpus::is_tagged(path)? {
        return Ok(Labelled::OfWords);
    }
    let column = |key: &str| -> Result<Option<Column>> {
        let value = overrides.value(key)?;
        value
            .map(|v| {
                v.try_into()
                    .map_err(|e: toml::de::Error| Error::value(key, e.message()))
            })
            .transpose()
    };
    let source = Source {
        text: column("data.text_column")?,
        pair: column("data.pair_column")?,
        label: column("data.label_column")?,
        ..Source::new(path)
    };
    // Of a folder of tables, by the first: the others have the same columns.
    let source = source.files()?.into_iter().next().unwrap_or(source);
    let format = source.resolve_format()?;
    match corpus::describe(&source, false) {
        Ok(described) if described.label.is_some() => Ok(Labelled::OfTexts),
        Ok(_) if format.tells_classes() => Ok(Labelled::OfTexts),
        Ok(_) => Ok(Labelled::None),
        Err(Error::ColumnMissing {
            role: "label",
            wanted,
            ..
        }) if wanted.is_empty() => Ok(Labelled::None),
        Err(error) => Err(error),
    }
}
