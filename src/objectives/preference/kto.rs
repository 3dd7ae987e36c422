//! "kto": answers that are good or bad, one by one.

use serde::{Deserialize, Serialize};

use super::{Judge, Known, check_beta, rows};
use crate::error::Result;
use crate::models::{Network, Tokens};
use crate::objectives::batch::{Batch, Targets};
use crate::objectives::criterion::able;
use crate::objectives::evidence::Preferred;
use crate::objectives::feed::Feed;
use crate::objectives::{OWN_TEMPLATE, WrongOption, require};
use crate::ops::{self, Binary, Unary};
use crate::tensor::{Tape, Tensor};
use crate::text::batch::NO_DOC;
use crate::text::chat::{Kind, PreferenceBatch};

/// Makes good answers more likely than the model found them before its first step, and bad ones less, as much as
/// people mind losses more than they like gains (Ethayarajh et al. 2024).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kto {
    /// Tokens of the longest text, what is asked and an answer; of longer ones the end is cut off.
    pub max_len: usize,
    /// The chat template: "model" for the model's own, a built-in one's name, or a file.
    pub template: String,
    /// How much it costs to leave what the model said before.
    pub beta: f32,
    /// How much good answers count.
    pub desirable_weight: f32,
    /// How much bad answers count.
    pub undesirable_weight: f32,
}

impl Kto {
    /// Its name in the run file.
    pub const NAME: &'static str = "kto";
}

impl Default for Kto {
    fn default() -> Self {
        Self {
            max_len: 1024,
            template: OWN_TEMPLATE.into(),
            beta: 0.1,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
        }
    }
}

impl Kto {
    fn weight(&self, good: bool) -> f32 {
        match good {
            true => self.desirable_weight,
            false => self.undesirable_weight,
        }
    }

    /// Cross entropies of the answers, and of those of others in their place, (B, 1) each. What the second say
    /// moves nothing.
    fn entropies(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<[Tensor; 2]> {
        let model = able(network.as_causal_lm(), Self::NAME)?;
        let own = rows::entropies(tape, model, &feed.tokens()?, feed.targets("targets")?.0)?;
        let others = Tokens::new(feed.ids("others")?, feed.numbers("other_lens")?);
        let targets = feed.targets("other_targets")?.0;
        let apart = Tape::inference(tape.gpu());
        Ok([own, rows::entropies(&apart, model, &others, targets)?])
    }
}

impl Judge for Kto {
    const NAME: &'static str = Self::NAME;
    const ABOUT: &'static str = "to give good answers and no bad ones";
    const KIND: Kind = Kind::Judged;
    const REFERS: bool = true;

    fn reading(&self) -> (usize, &str) {
        (self.max_len, &self.template)
    }

    fn check_own(&self) -> Result<(), WrongOption> {
        check_beta(self.beta)?;
        let weights = [
            ("desirable_weight", self.desirable_weight),
            ("undesirable_weight", self.undesirable_weight),
        ];
        weights.into_iter().try_for_each(|(key, weight)| {
            let good = weight.is_finite() && weight > 0.0;
            require(good, key, "should be a number above 0")
        })
    }

    fn title(&self) -> String {
        "Kahneman-Tversky optimisation".into()
    }

    fn arrays(&self, made: PreferenceBatch, known: &Known) -> Batch {
        let PreferenceBatch { mut rows, docs, .. } = made;
        let (others, own) = (rows.swap_remove(1), rows.swap_remove(0));
        let targets = [&own, &others].map(|rows| Targets::classes(rows.targets()));
        let (there, good) = (
            docs.iter().map(|doc| *doc != NO_DOC),
            docs.iter().map(|doc| known.chats.is_good(*doc)),
        );
        let count = there.clone().filter(|there| *there).count();
        let share = |(there, number): (bool, f32)| if there { number } else { 0.0 };
        let weights = there
            .clone()
            .zip(good.clone().map(|good| self.weight(good)));
        let shares = weights.map(share).collect();
        let means = (there.zip(std::iter::repeat(1.0 / count.max(1) as f32))).map(share);
        // A gain of good answers, a loss of bad ones; the smaller it is, the larger is what it costs.
        let signs = good.map(|good| if good { -self.beta } else { self.beta });
        let (means, signs) = (means.collect(), signs.collect());
        let mut reference = known.reference.rows(&docs);
        let of_others = reference.split_off(docs.len());
        let worth = rows::of_each(&docs, 1.0).shared(shares, count);
        let [of_own, of_other] = targets;
        let (inputs, batch) = (others.inputs, rows::batch(own, docs));
        batch
            .targets("targets", of_own)
            .targets("other_targets", of_other)
            .targets("worth", worth)
            .ids(
                "others",
                inputs.ids,
                inputs.index,
                [inputs.batch, inputs.time],
            )
            .numbers("other_lens", inputs.lens)
            .floats("reference", reference)
            .floats("other_reference", of_others)
            .floats("signs", signs)
            .floats("means", means)
    }

    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let [own, others] = self.entropies(tape, network, feed)?;
        // How far the model has moved on the whole, at least 0, and nothing that is learned from.
        let apart = Tape::inference(tape.gpu());
        let gain = |tape: &Tape, now: &Tensor, before| {
            ops::binary(tape, Binary::Sub, &rows::column(feed, before)?, now)
        };
        let moved = gain(&apart, &others, "other_reference")?;
        let moved = ops::mul(&apart, &moved, &rows::column(feed, "means")?)?;
        let moved = ops::unary(&apart, &ops::sum_all(&apart, &moved)?, Unary::Relu)?;
        let gain = gain(tape, &own, "reference")?;
        let gain = ops::binary(tape, Binary::Sub, &gain, &moved.reshaped([1, 1])?)?;
        let cost = ops::mul(tape, &gain, &rows::column(feed, "signs")?)?;
        let cost = ops::unary(tape, &cost, Unary::Sigmoid)?;
        let weights = feed.targets("worth")?.1;
        let weights = weights.reshaped([weights.len(), 1])?;
        let loss = ops::sum_all(tape, &ops::mul(tape, &cost, &weights)?)?;
        Ok((loss, vec![own, others]))
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        Ok(self.entropies(tape, network, feed)?.into())
    }

    fn judged(&self, said: &[(u32, Vec<f64>)], known: &Known) -> Vec<Preferred> {
        let beta = f64::from(self.beta);
        let gains = said.iter().map(|(doc, now)| {
            let before = known.reference.of(*doc);
            let gains: [f64; 2] = std::array::from_fn(|row| before[row] - now[row]);
            (known.chats.is_good(*doc), gains)
        });
        let gains: Vec<(bool, [f64; 2])> = gains.collect();
        let moved: f64 = gains.iter().map(|(_, [_, other])| other).sum();
        let moved = (moved / gains.len().max(1) as f64).max(0.0);
        let of = |&(good, [own, _]): &(bool, [f64; 2])| {
            let cost = beta * if good { moved - own } else { own - moved };
            let loss = f64::from(self.weight(good)) / (1.0 + (-cost).exp());
            Preferred::judged(loss, beta * own, good)
        };
        gains.iter().map(of).collect()
    }
}
