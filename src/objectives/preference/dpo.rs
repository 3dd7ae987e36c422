//! "dpo": direct preference optimisation.

use serde::{Deserialize, Serialize};

use super::{Judge, Known, check_beta, rows, softplus};
use crate::error::Result;
use crate::models::Network;
use crate::objectives::batch::{Batch, Targets};
use crate::objectives::criterion::able;
use crate::objectives::evidence::Preferred;
use crate::objectives::feed::Feed;
use crate::objectives::{OWN_TEMPLATE, WrongOption, require};
use crate::ops;
use crate::tensor::{Tape, Tensor};
use crate::text::chat::PreferenceBatch;

/// Prefers the better of two answers more than the model did before its first step (Rafailov et al. 2023).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// Tokens of the longest text, what is asked and an answer; of longer ones the end is cut off.
    pub max_len: usize,
    /// The chat template: "model" for the model's own, a built-in one's name, or a file.
    pub template: String,
    /// The loss of a pair.
    pub loss: DpoLoss,
    /// How much it costs to leave what the model said before.
    pub beta: f32,
    /// How often the worse answer is really the better one (conservative DPO).
    pub label_smoothing: f32,
}

/// The loss of a pair of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpoLoss {
    /// −ln σ(β·margin)
    #[default]
    Sigmoid,
    /// (margin of the means over tokens − 1 / 2β)² (Azar et al. 2023)
    Ipo,
}

impl Dpo {
    /// Its name in the run file.
    pub const NAME: &'static str = "dpo";
}

impl Default for Dpo {
    fn default() -> Self {
        Self {
            max_len: 1024,
            template: OWN_TEMPLATE.into(),
            loss: DpoLoss::default(),
            beta: 0.1,
            label_smoothing: 0.0,
        }
    }
}

impl Judge for Dpo {
    const NAME: &'static str = Self::NAME;
    const ABOUT: &'static str = "to prefer the better of two answers";
    const REFERS: bool = true;

    fn reading(&self) -> (usize, &str) {
        (self.max_len, &self.template)
    }

    fn check_own(&self) -> Result<(), WrongOption> {
        check_beta(self.beta)?;
        let smoothing = self.label_smoothing;
        let half =
            "is how often the worse answer is the better one: expected 0 or more and less than 0.5";
        require((0.0..0.5).contains(&smoothing), "label_smoothing", half)?;
        require(
            smoothing == 0.0 || self.loss == DpoLoss::Sigmoid,
            "label_smoothing",
            "is for loss = \"sigmoid\"",
        )
    }

    fn title(&self) -> String {
        "direct preference optimisation".into()
    }

    fn arrays(&self, mut made: PreferenceBatch, known: &Known) -> Batch {
        let both = made.rows.swap_remove(0);
        let (targets, counts) = (both.targets(), both.counts());
        // Per answer, or per token of it.
        let share = |count: &usize| match self.loss {
            DpoLoss::Sigmoid => 1.0,
            DpoLoss::Ipo => 1.0 / (*count).max(1) as f32,
        };
        let goal = match self.loss {
            DpoLoss::Sigmoid => 1.0 - self.label_smoothing,
            DpoLoss::Ipo => 0.5 / self.beta,
        };
        let goals = rows::of_each(&made.docs, goal);
        let reference = known.reference.rows(&made.docs);
        rows::batch(both, made.docs)
            .targets("targets", Targets::classes(targets))
            .targets("goals", goals)
            .floats("reference", reference)
            .floats("shares", counts.iter().map(share).collect())
    }

    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (model, tokens) = (able(network.as_causal_lm(), Self::NAME)?, feed.tokens()?);
        let entropies = rows::entropies(tape, model, &tokens, feed.targets("targets")?.0)?;
        // What is said more often than before has a smaller entropy.
        let before = ops::scale(tape, &rows::column(feed, "reference")?, -1.0)?;
        let moved = ops::add(tape, &entropies, &before)?;
        let moved = ops::mul(tape, &moved, &rows::column(feed, "shares")?)?;
        let margin = ops::scale(tape, &rows::difference(tape, &moved)?, -1.0)?;
        let (goals, weights) = feed.targets("goals")?;
        let loss = match self.loss {
            DpoLoss::Sigmoid => {
                let z = ops::scale(tape, &margin, self.beta)?;
                ops::binary_cross_entropy(tape, &z, goals, weights)
            }
            DpoLoss::Ipo => ops::squared_error(tape, &margin, goals, weights),
        };
        Ok((loss?, vec![entropies]))
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let (model, tokens) = (able(network.as_causal_lm(), Self::NAME)?, feed.tokens()?);
        let targets = feed.targets("targets")?.0;
        Ok(vec![rows::entropies(tape, model, &tokens, targets)?])
    }

    fn judged(&self, said: &[(u32, Vec<f64>)], known: &Known) -> Vec<Preferred> {
        let beta = f64::from(self.beta);
        let of = |(doc, now): &(u32, Vec<f64>)| {
            let before = known.reference.of(*doc);
            let moved: [f64; 2] = std::array::from_fn(|row| before[row] - now[row]);
            let loss = match self.loss {
                DpoLoss::Sigmoid => {
                    let (z, e) = (
                        beta * (moved[0] - moved[1]),
                        f64::from(self.label_smoothing),
                    );
                    (1.0 - e) * softplus(z) + e * softplus(-z)
                }
                DpoLoss::Ipo => {
                    let counts = known.counts(*doc, self.max_len);
                    let mean = |row: usize| moved[row] / counts[row].max(1) as f64;
                    (mean(0) - mean(1) - 0.5 / beta).powi(2)
                }
            };
            Preferred::pair(loss, moved.map(|moved| beta * moved))
        };
        said.iter().map(of).collect()
    }
}
