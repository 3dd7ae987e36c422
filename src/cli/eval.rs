//! `melos eval`.

use std::path::PathBuf;

use clap::Args;

use super::model_options::ModelOptions;
use super::output;
use crate::error::Result;
use crate::inference;
use crate::models::Beside;
use crate::objectives::scores::ClassScores;
use crate::text::Column;
use crate::train::config::{DataConfig, Source};
use crate::train::progress::brief;
use crate::train::report::markdown;
use crate::train::run;

/// Score a model on text: the metrics of what it learned, its classes one by one, the confusion matrix.
#[derive(Debug, Args)]
pub struct Eval {
    /// Model folder, or a run folder (its best model).
    model: PathBuf,
    /// Text to score on: a data set's archive or folder, or a csv, tsv, jsonl, txt file.
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Column (by name or number) or key of the text [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "text")]
    text_column: Option<Column>,
    /// Column (by name or number) or key of the label [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "label")]
    label_column: Option<Column>,
    /// Column (by name or number) or key of a second text [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "pair")]
    pair_column: Option<Column>,
    /// All scores as one JSON object: every metric, the classes, the confusion matrix.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl Eval {
    pub(super) fn run(self) -> Result<()> {
        let folder = run::resolve_model(&self.model)?;
        let data = DataConfig {
            path: self.data.into(),
            text_column: self.text_column,
            label_column: self.label_column,
            pair_column: self.pair_column,
            ..DataConfig::new(Source::Files)
        };
        data.require()?;
        let open = |beside: Beside<'_>, adapter: Option<&str>| {
            inference::open_model(&folder, beside, adapter)
        };
        let mut model = self.options.with(open)?;
        let scores = model.evaluate(&data)?;
        if self.json {
            return output::print_json(&scores);
        }
        let mut text = format!("{} answers, {}\n", scores.examples, brief(&scores));
        let tables = [("class", &scores.classes), ("entity", &scores.entities)];
        for (what, classes) in tables {
            if let Some(classes) = classes {
                text += &format!("\n{}", markdown(&classes.table(what)));
            }
        }
        if let Some(matrix) = scores.classes.as_ref().and_then(ClassScores::matrix) {
            text += &format!("\n{}", markdown(&matrix));
        }
        output::print(&text)
    }
}
