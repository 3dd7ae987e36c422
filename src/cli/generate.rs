//! `melos generate`.

use std::path::PathBuf;

use clap::Args;

use super::model_options::ModelOptions;
use super::output;
use super::sampling_options::SamplingOptions;
use crate::error::Result;
use crate::inference::Generator;

/// Let a language model write on after a prompt.
#[derive(Debug, Args)]
pub struct Generate {
    /// Model folder, an adapter's, a run's (its best model), or a .gguf file.
    model: PathBuf,
    /// The text to go on with; may be empty.
    prompt: String,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_tokens: usize,
    /// One JSON object at the end instead of a stream: prompt and text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl Generate {
    pub(super) fn run(self) -> Result<()> {
        let model = self.options.open(&self.model, Generator::open)?;
        let sampling = self.sampling.sampling(self.max_tokens);
        if self.json {
            let text = model.generate(&self.prompt, &sampling, &mut |_| Ok(()))?;
            let line = serde_json::json!({ "prompt": self.prompt, "text": text });
            return output::print_json(&line);
        }
        output::print(&self.prompt)?;
        model.generate(&self.prompt, &sampling, &mut output::print)?;
        output::print("\n")
    }
}
