//! The options that say how a model writes, of the commands that let one.

use clap::Args;

use crate::inference::Sampling;

#[derive(Debug, Args)]
pub struct SamplingOptions {
    /// Always take the most probable token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
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
    /// Draw among tokens at least so many times as probable as the most probable one, as 0.05; 0: all.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,
    /// Make tokens that stand there already so many times less likely.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Seed of the draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop where this text appears; may be repeated.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

impl SamplingOptions {
    /// What they say, for texts of up to `max_tokens`.
    pub(super) fn sampling(&self, max_tokens: usize) -> Sampling {
        Sampling {
            temperature: if self.greedy { 0.0 } else { self.temperature },
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            max_tokens,
            stop: self.stop.clone(),
        }
    }
}
