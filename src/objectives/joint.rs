//! "joint": a classifier that learns the text at the same time.

use serde::{Deserialize, Serialize};

use super::batch::{Batches, Named, Targets};
use super::classify::{Classification, Classify};
use super::coverage::Coverage;
use super::criterion::{Criterion, Purpose, Setup, Tally, able};
use super::evidence::Asked;
use super::feed::Feed;
use super::sa::shifted_tokens;
use super::{LENGTH, Labelled, Objective, WrongOption, check_length, require};
use crate::error::Result;
use crate::hub::Head;
use crate::models::Network;
use crate::ops;
use crate::tensor::{Tape, Tensor};
use crate::text::batch::IGNORE;
use crate::text::{BucketBatches, Keep, SequenceBatch};

/// Predicts the label of a text and, at the same time, what `auxiliary` does (Dai & Le 2015,
/// section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Joint {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: Keep,
    /// The second objective.
    pub auxiliary: Option<Auxiliary>,
    /// Weight of the second objective's loss.
    pub auxiliary_weight: f32,
}

/// The second objective of joint training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auxiliary {
    /// Next token.
    Lm,
    /// Sequence autoencoder.
    Sa,
}

impl Joint {
    /// Its name in the run file.
    pub const NAME: &'static str = "joint";
}

impl Default for Joint {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: Keep::default(),
            auxiliary: None,
            auxiliary_weight: 1.0,
        }
    }
}

impl Objective for Joint {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the label of a text and, at the same time, the text"
    }

    fn labels(&self) -> Labelled {
        Labelled::OfTexts
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Joint)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn asked(&self) -> Asked {
        Asked::Label
    }

    fn passes(&self) -> usize {
        match self.auxiliary {
            Some(Auxiliary::Sa) => 2,
            _ => 1,
        }
    }

    fn kept_end(&self) -> Keep {
        self.kept_end
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        let weight = self.auxiliary_weight;
        require(
            weight > 0.0 && weight.is_finite(),
            "auxiliary_weight",
            "should be a positive number",
        )?;
        require(
            self.auxiliary.is_some(),
            "auxiliary",
            "is needed: \"lm\" or \"sa\", what is learned beside the label",
        )
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        let classify = Classify {
            max_len: self.max_len,
            kept_end: self.kept_end,
            ..Classify::default()
        };
        Ok(Box::new(Both {
            labels: Classification::new(classify, setup),
            writes: self.auxiliary == Some(Auxiliary::Sa),
            weight: self.auxiliary_weight,
        }))
    }
}

/// Labelled texts, and what is predicted of the texts themselves.
struct Both {
    labels: Classification,
    /// Whether the text is written, as by an autoencoder, or each next word predicted.
    writes: bool,
    weight: f32,
}

impl Criterion for Both {
    fn title(&self) -> String {
        self.labels.title()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        if purpose == Purpose::Scoring {
            return self.labels.batches(docs, purpose);
        }
        let options = self.labels.bucket_options(purpose, true);
        let documents = self.labels.setup.documents.clone();
        let stream = BucketBatches::new(documents, docs, options, purpose.seed())?;
        let (answering, writes) = (self.labels.answering(docs, purpose), self.writes);
        let named = move |mut b: SequenceBatch| {
            let (shape, decoder) = ([b.time, b.batch], b.decoder.take());
            let batch = answering.steps(b);
            match decoder {
                None => batch,
                Some(decoder) if writes => batch
                    .ids("shifted", decoder.ids, decoder.index, shape)
                    .numbers("shifted_lens", decoder.lens)
                    .targets("text", Targets::classes(decoder.targets)),
                Some(decoder) => {
                    let next = next_words(&decoder.targets, shape[1]);
                    batch.targets("text", Targets::classes(next))
                }
            }
        };
        Ok(Box::new(Named::new(stream, self.labels.work(docs), named)))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        self.labels.coverage(docs)
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = able(network.as_joint(), Joint::NAME)?;
        let (targets, weights) = feed.targets("text")?;
        let answers = self.labels.answers(feed)?;
        let shifted = if self.writes {
            Some(shifted_tokens(feed)?)
        } else {
            None
        };
        let tokens = feed.tokens()?;
        let [label, text] =
            model.losses(tape, &tokens, &answers, shifted.as_ref(), targets, weights)?;
        ops::add(tape, &label, &ops::scale(tape, &text, self.weight)?)
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        self.labels.outputs(tape, network, feed)
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        self.labels.tally()
    }
}

/// What a language model predicts after each word that the classifier reads: the next one. `words` are
/// the autoencoder's targets, (T, B), which are the texts' words without word dropout.
fn next_words(words: &[i32], batch: usize) -> Vec<i32> {
    let mut targets = vec![IGNORE; words.len()];
    let last = words.len() - batch;
    targets[..last].copy_from_slice(&words[batch..]);
    targets
}
