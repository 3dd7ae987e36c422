//! `melos inspect`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::error::Result;
use crate::hub::{self, Summary};
use crate::models;
use crate::train::progress::thousands;
use crate::train::run::model_of_run;

/// Show the tensors, shapes and parameters of a model or adapter.
///
/// For a Hugging Face folder, its shards, a bare .safetensors file, a GGUF file, a model of melos, or a PEFT
/// adapter, with the share of its base's parameters that it trains.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Model folder, adapter folder, run folder, .safetensors or .gguf file.
    path: PathBuf,
    /// The adapter's base model [default: the folder that the adapter names].
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Everything as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let base = self.base.as_deref().map(model_of_run).transpose()?;
        let path = model_of_run(&self.path)?;
        let summary = hub::inspect(&path, base.as_deref(), &models::formats())?;
        output::show(self.json, &summary, || text(&summary))
    }
}

fn text(summary: &Summary) -> String {
    let width = summary.tensors.iter().map(|t| t.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for tensor in &summary.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let (name, dtype) = (&tensor.name, &tensor.dtype);
        text += &format!("{name:width$}  {dtype:4}  {}\n", shape.join(" × "));
    }
    let mut class = summary.architectures.join(", ");
    if class.is_empty() {
        class = summary.model_type.clone().unwrap_or("unknown class".into());
    }
    let types: Vec<String> = summary.dtypes.keys().cloned().collect();
    text += &format!(
        "\n{} ({}): {} tensors, {} parameters, {}, {}\n",
        if summary.adapter.is_some() {
            "LoRA adapter"
        } else {
            &class
        },
        summary.kind,
        summary.tensors.len(),
        grouped(summary.parameters),
        types.join(" and "),
        bytes(summary.bytes),
    );
    if let Some(report) = &summary.report {
        text += &report.to_string();
    }
    if let Some(problem) = &summary.problem {
        text += &format!("does not fit its own config.json: {problem}\n");
    }
    if let Some(adapter) = &summary.adapter {
        let base = adapter.base.as_deref().unwrap_or("not named");
        text += &format!(
            "r {}, alpha {}, {} layers; base: {base}\n",
            adapter.r, adapter.alpha, adapter.layers
        );
        text += &match (adapter.all, adapter.share()) {
            (Some(all), Some(share)) => format!(
                "trainable {} of {} parameters: {share:.4} %\n",
                grouped(adapter.trainable),
                grouped(all)
            ),
            _ => format!(
                "trainable {} parameters (name the base with --base for their share)\n",
                grouped(adapter.trainable)
            ),
        };
    }
    text
}

fn grouped(number: u64) -> String {
    thousands(number as f64)
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 999, 1000, 22_713_216].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "22,713,216"]);
        assert_eq!(bytes(90_868_376), "90.9 MB");
    }
}
