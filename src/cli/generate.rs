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
    /// The text to go on with; may be empty. Of several each is gone on with, all at once.
    #[arg(required = true)]
    prompt: Vec<String>,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_tokens: usize,
    /// One JSON object for each prompt at the end instead of a stream: prompt and text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl Generate {
    pub(super) fn run(self) -> Result<()> {
        let model = self.options.open(&self.model, Generator::open)?;
        let sampling = self.sampling.sampling(self.max_tokens);
        if let ([prompt], false) = (&self.prompt[..], self.json) {
            output::print(prompt)?;
            model.generate(prompt, &sampling, &mut output::print)?;
            return output::print("\n");
        }
        let texts = model.generate_all(&self.prompt, &sampling, &mut |_, _| Ok(()))?;
        for (prompt, text) in self.prompt.iter().zip(texts) {
            if self.json {
                output::print_json(&serde_json::json!({ "prompt": prompt, "text": text }))?;
            } else {
                output::print(&format!("{prompt}{text}\n"))?;
            }
        }
        Ok(())
    }
}
