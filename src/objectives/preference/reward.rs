//! "reward": a model that gives texts a number, the better ones a larger one.

use serde::{Deserialize, Serialize};

use super::{Judge, Known, rows, softplus};
use crate::error::Result;
use crate::hub::Head;
use crate::models::Network;
use crate::objectives::batch::Batch;
use crate::objectives::criterion::able;
use crate::objectives::evidence::Preferred;
use crate::objectives::feed::Feed;
use crate::objectives::{OWN_TEMPLATE, Problem};
use crate::ops;
use crate::tensor::{Tape, Tensor};
use crate::text::Rows;
use crate::text::chat::PreferenceBatch;

/// Gives the better of two answers the larger number (Bradley & Terry 1952; Ouyang et al. 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reward {
    /// Tokens of the longest text, what is asked and an answer; pairs with longer ones are left out.
    pub max_len: usize,
    /// The chat template: "model" for the model's own, a built-in one's name, or a file.
    pub template: String,
}

impl Reward {
    /// Its name in the run file.
    pub const NAME: &'static str = "reward";
}

impl Default for Reward {
    fn default() -> Self {
        Self {
            max_len: 1024,
            template: OWN_TEMPLATE.into(),
        }
    }
}

/// Where each row's last token stands in the flattened batch; `u32::MAX` for an empty row. As transformers looks for
/// it: a token that fills rows is not seen, though texts end with it where a tokeniser has no other.
fn last_said(rows: &Rows, pad: u32) -> Vec<u32> {
    let last = |(row, len): (usize, &u32)| {
        let first = row * rows.time;
        let own = &rows.ids[first..first + *len as usize];
        let last = own.iter().rposition(|id| *id != pad);
        last.map_or(u32::MAX, |at| (first + at) as u32)
    };
    rows.lens.iter().enumerate().map(last).collect()
}

impl Judge for Reward {
    const NAME: &'static str = Self::NAME;
    const ABOUT: &'static str = "a number for each text, larger for better answers";
    const HEAD: Head = Head::Sequence;
    const PROBLEM: Problem = Problem::Regression;
    const WHOLE: bool = true;

    fn reading(&self) -> (usize, &str) {
        (self.max_len, &self.template)
    }

    fn title(&self) -> String {
        "reward model".into()
    }

    fn arrays(&self, mut made: PreferenceBatch, known: &Known) -> Batch {
        let both = made.rows.swap_remove(0);
        let (last, of) = (last_said(&both.inputs, known.pad), both.inputs.ids.len());
        let preferences = rows::of_each(&made.docs, 1.0);
        rows::batch(both, made.docs)
            .rows("last", last, of)
            .targets("goals", preferences)
    }

    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let model = able(network.as_classifier(), Self::NAME)?;
        let rewards = model.logits(tape, &feed.tokens()?)?;
        let margin = rows::difference(tape, &rewards)?;
        let (goals, weights) = feed.targets("goals")?;
        let loss = ops::binary_cross_entropy(tape, &margin, goals, weights)?;
        Ok((loss, vec![rewards]))
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let model = able(network.as_classifier(), Self::NAME)?;
        Ok(vec![model.logits(tape, &feed.tokens()?)?])
    }

    fn judged(&self, said: &[(u32, Vec<f64>)], _: &Known) -> Vec<Preferred> {
        let of = |(_, now): &(u32, Vec<f64>)| {
            let rewards = [now[0], now[1]];
            Preferred::pair(softplus(rewards[0] - rewards[1]), rewards)
        };
        said.iter().map(of).collect()
    }
}
