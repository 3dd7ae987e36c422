//! "lm": a language model that carries its state from window to window.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Named, Targets};
use super::coverage::Coverage;
use super::criterion::{Criterion, Purpose, Setup, able};
use super::feed::{Carried, Feed};
use super::{AnyObjective, LENGTH, Objective, Problem, WrongOption, check_length};
use crate::device::Gpu;
use crate::error::Result;
use crate::hub::Head;
use crate::models::{Cut, Network, States};
use crate::tensor::{Tape, Tensor};
use crate::text::{LmBatch, LmBatches, LmOptions};

/// Predicts the next token of text that is read window by window (Dai & Le 2015, section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lm {
    /// Truncated backpropagation through time: tokens per window.
    pub bptt: usize,
}

impl Lm {
    /// Its name in the run file.
    pub const NAME: &'static str = "lm";
}

impl Default for Lm {
    fn default() -> Self {
        Self { bptt: LENGTH }
    }
}

impl Objective for Lm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the next token, window by window"
    }

    fn head(&self) -> Option<Head> {
        Some(Head::RecurrentLm)
    }

    fn length(&self) -> usize {
        self.bptt
    }

    fn length_key(&self) -> &'static str {
        "bptt"
    }

    fn fills(&self) -> bool {
        true
    }

    fn scoring(&self, cut: Cut, _: Problem) -> Option<AnyObjective> {
        Some(Lm { bptt: cut.length }.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("bptt", self.bptt)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        Ok(Box::new(Windows {
            length: self.bptt,
            setup,
        }))
    }
}

/// Windows of the stream of all texts.
struct Windows {
    length: usize,
    setup: Setup,
}

impl Criterion for Windows {
    fn title(&self) -> String {
        "language model".into()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let options = LmOptions {
            batch: self.setup.batch,
            window: self.length,
            shuffle: purpose.shuffles(),
            word_dropout: self.setup.word_dropout(purpose),
        };
        let documents = self.setup.documents.clone();
        let stream = LmBatches::new(documents, docs, options, purpose.seed())?;
        let work = stream.tokens_per_epoch();
        let named = |b: LmBatch| {
            let targets = Targets::classes(b.targets);
            let mut batch = Batch::new(b.time, targets.count() as u64)
                .ids("ids", b.ids, b.index, [b.time, b.batch])
                .numbers("lens", b.lens)
                .targets("targets", targets);
            batch.resets = b.reset;
            batch
        };
        Ok(Box::new(Named::new(stream, work, named)))
    }

    /// Windows go on where the one before ended.
    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        Ok(self.setup.all_read(docs))
    }

    /// The state of every layer between windows.
    fn carried(&self, gpu: &Gpu, network: &dyn Network) -> Result<Carried> {
        let model = able(network.as_recurrent_lm(), Lm::NAME)?;
        let states = model.states(gpu, self.setup.batch)?.into_iter();
        let named = |(i, (h, c))| [(format!("carried.h.{i}"), h), (format!("carried.c.{i}"), c)];
        Ok(states.enumerate().flat_map(named).collect())
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = able(network.as_recurrent_lm(), Lm::NAME)?;
        let pairs = feed.carried.chunks_exact(2);
        let states: States = pairs.map(|p| (p[0].1.clone(), p[1].1.clone())).collect();
        let (targets, weights) = feed.targets("targets")?;
        let (loss, finals) = model.loss(tape, &feed.tokens()?, &states, targets, weights)?;
        for ((h, c), (h_n, c_n)) in states.iter().zip(&finals) {
            h.copy_from(h_n)?;
            c.copy_from(c_n)?;
        }
        Ok(loss)
    }
}
