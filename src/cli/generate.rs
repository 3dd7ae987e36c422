//! `melos generate`.

use std::path::PathBuf;

use clap::Args;

use super::model_options::ModelOptions;
use super::output;
use crate::error::Result;
use crate::inference::{Generator, Sampling};

/// Let a language model write on after a prompt.
#[derive(Debug, Args)]
pub struct Generate {
    /// Model folder, an adapter's, a run's (its best model), or a .gguf file.
    model: PathBuf,
    /// The text to go on with; may be empty.
    prompt: String,
    /// Always take the most probable token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p"])]
    greedy: bool,
    /// Logits are divided by it: below 1 safer, above 1 bolder.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// Draw among so many of the most probable tokens; 0: all.
    #[arg(long, value_name = "K", default_value_t = 50)]
    top_k: usize,
    /// Draw among the most probable tokens that have this probability together.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Make tokens that stand there already so many times less likely.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most tokens to write.
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_tokens: usize,
    /// Stop where this text appears; may be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// One JSON object at the end instead of a stream: prompt and text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ModelOptions,
}

impl Generate {
    pub(super) fn run(self) -> Result<()> {
        let model = self.options.open(&self.model, Generator::open)?;
        let sampling = Sampling {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            max_tokens: self.max_tokens,
            stop: self.stop,
        };
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
