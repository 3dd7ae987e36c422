//! "orpo": preferences and the better answers at once, without a reference.

use serde::{Deserialize, Serialize};

use super::{Judge, Known, check_beta, rows, softplus};
use crate::error::Result;
use crate::models::Network;
use crate::objectives::batch::{Batch, Targets};
use crate::objectives::criterion::able;
use crate::objectives::evidence::Preferred;
use crate::objectives::feed::Feed;
use crate::objectives::{OWN_TEMPLATE, WrongOption};
use crate::ops::{self, Binary, Unary};
use crate::tensor::{Tape, Tensor};
use crate::text::chat::PreferenceBatch;

/// Learns the texts with the better answers and, by the ratio of the odds, to prefer these (Hong et al. 2024).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orpo {
    /// Tokens of the longest text, what is asked and an answer; of longer ones the end is cut off.
    pub max_len: usize,
    /// The chat template: "model" for the model's own, a built-in one's name, or a file.
    pub template: String,
    /// How much the preference counts beside the text: the paper's λ.
    pub beta: f32,
}

impl Orpo {
    /// Its name in the run file.
    pub const NAME: &'static str = "orpo";
}

impl Default for Orpo {
    fn default() -> Self {
        Self {
            max_len: 1024,
            template: OWN_TEMPLATE.into(),
            beta: 0.1,
        }
    }
}

impl Judge for Orpo {
    const NAME: &'static str = Self::NAME;
    const ABOUT: &'static str = "the better of two answers, and to prefer it";

    fn reading(&self) -> (usize, &str) {
        (self.max_len, &self.template)
    }

    fn check_own(&self) -> Result<(), WrongOption> {
        check_beta(self.beta)
    }

    fn title(&self) -> String {
        "odds ratio preference optimisation".into()
    }

    fn arrays(&self, mut made: PreferenceBatch, _: &Known) -> Batch {
        let both = made.rows.swap_remove(0);
        let (time, pairs) = (both.inputs.time, made.docs.len());
        // Of a better answer's text all tokens are learned, as TRL does; of the worse only the answer is looked at.
        let (next, answers) = (both.next.clone(), both.targets());
        let (better, worse) = (&next[..pairs * time], &answers[pairs * time..]);
        let targets = Targets::classes([better, worse].concat());
        let learned =
            |(at, next): (usize, &i32)| f32::from(u8::from(at < pairs * time && *next >= 0));
        let shares = next.iter().enumerate().map(learned).collect();
        let count = better.iter().filter(|next| **next >= 0).count();
        // Each answer's tokens weigh as much as its mean wants.
        let counts = both.counts();
        let of = |(at, answers): (usize, &bool)| match answers {
            true => -1.0 / counts[at / time].max(1) as f32,
            false => 0.0,
        };
        let means = both.answers.iter().enumerate().map(of).collect();
        let preferences = rows::of_each(&made.docs, 1.0);
        rows::batch(both, made.docs)
            .targets("targets", targets.shared(shares, count))
            .targets("goals", preferences)
            .floats("means", means)
    }

    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (losses, means) = means(tape, network, feed)?;
        // ln(1 − p)
        let p = ops::unary(tape, &means, Unary::Exp)?;
        let rest = Unary::Affine {
            alpha: -1.0,
            beta: 1.0,
        };
        let rest = ops::unary(tape, &ops::unary(tape, &p, rest)?, Unary::Log)?;
        let odds = ops::binary(tape, Binary::Sub, &means, &rest)?;
        let (goals, weights) = feed.targets("goals")?;
        let ratio = rows::difference(tape, &odds)?;
        let preference = ops::binary_cross_entropy(tape, &ratio, goals, weights)?;
        let text = ops::mul(tape, &losses, feed.targets("targets")?.1)?;
        let text = ops::sum_all(tape, &text)?;
        let loss = ops::add(tape, &text, &ops::scale(tape, &preference, self.beta)?)?;
        let all = rows::sums(&Tape::inference(tape.gpu()), &losses, &feed.tokens()?)?;
        Ok((loss, vec![means, all]))
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let (losses, means) = means(tape, network, feed)?;
        let all = rows::sums(tape, &losses, &feed.tokens()?)?;
        Ok(vec![means, all])
    }

    fn judged(&self, said: &[(u32, Vec<f64>)], known: &Known) -> Vec<Preferred> {
        let beta = f64::from(self.beta);
        let tokens = |doc: u32| known.length(doc, self.max_len) as f64;
        let learned: f64 = said.iter().map(|(doc, _)| tokens(*doc)).sum();
        let odds = |mean: f64| mean - (-mean.exp_m1()).ln();
        let of = |(_, now): &(u32, Vec<f64>)| {
            let preference = softplus(odds(now[0]) - odds(now[1]));
            // The text's share is a mean over the tokens of all documents.
            let text = now[2] / learned * said.len() as f64;
            Preferred::pair(text + beta * preference, [beta * now[0], beta * now[1]])
        };
        said.iter().map(of).collect()
    }
}

/// The cross entropy of each token, (2·B·T), and the mean logarithm of each answer's probabilities, (2·B, 1).
fn means(tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<(Tensor, Tensor)> {
    let (model, tokens) = (able(network.as_causal_lm(), Orpo::NAME)?, feed.tokens()?);
    let losses = model.token_losses(tape, &tokens, feed.targets("targets")?.0)?;
    let weighted = ops::mul(tape, &losses, feed.floats("means")?)?;
    let means = rows::sums(tape, &weighted, &tokens)?;
    Ok((losses, means))
}
