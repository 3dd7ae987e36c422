//! "clm": a causal language model.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Named, Targets};
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, Purpose, Setup, able};
use super::feed::Feed;
use super::{AnyObjective, LENGTH, Objective, Problem, WrongOption, check_length};
use crate::error::Result;
use crate::hub::Head;
use crate::models::{Cut, Network};
use crate::tensor::{Tape, Tensor};
use crate::text::{CausalBatch, CausalBatches, CausalLayout, CausalOptions};

/// Predicts the next token from those before it in the sequence (Radford et al. 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clm {
    /// Tokens of a sequence.
    pub max_len: usize,
    /// Fill sequences with text up to `max_len` instead of one text each.
    pub packing: bool,
}

impl Clm {
    /// Its name in the run file.
    pub const NAME: &'static str = "clm";
}

impl Default for Clm {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            packing: false,
        }
    }
}

impl Objective for Clm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the next token"
    }

    fn head(&self) -> Option<Head> {
        Some(Head::CausalLm)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn reads_on(&self) -> bool {
        self.packing
    }

    fn scoring(&self, cut: Cut, _: Problem) -> Option<AnyObjective> {
        let scoring = Clm {
            max_len: cut.length,
            packing: true,
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        let options = self.clone();
        Ok(Box::new(NextTokens { options, setup }))
    }
}

/// Rows of text, and the token after each of theirs.
struct NextTokens {
    options: Clm,
    setup: Setup,
}

impl NextTokens {
    fn rows(&self, docs: &[u32], purpose: Purpose) -> Result<CausalBatches> {
        let options = CausalOptions {
            batch: self.setup.batch,
            max_len: self.options.max_len,
            layout: if self.options.packing {
                CausalLayout::Stream
            } else {
                CausalLayout::Documents
            },
            buckets: true,
            shuffle: purpose.shuffles(),
            prompt_loss: false,
        };
        let documents = self.setup.documents.clone();
        let vocabulary = self.setup.tokenizer.vocabulary();
        CausalBatches::new(documents, docs, vocabulary, options, purpose.seed())
    }
}

impl Criterion for NextTokens {
    fn title(&self) -> String {
        "causal language model".into()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let stream = self.rows(docs, purpose)?;
        let work = stream.tokens_per_epoch();
        Ok(Box::new(Named::new(stream, work, |b: CausalBatch| {
            Batch::of_rows(b.inputs).targets("targets", Targets::classes(b.targets))
        })))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        if self.options.packing {
            return Ok(self.setup.all_read(docs));
        }
        let (rows, documents) = (self.rows(docs, Purpose::Scoring)?, &self.setup.documents);
        let read = |&doc: &u32| {
            let [[_, wanted], [row, asked]] = rows.read(doc);
            let tokens = documents.ids(doc).len();
            let pair = documents.texts(doc).1.is_some();
            Read {
                tokens,
                // Beside the `<eos>` before what is said, and the last one where there is room for it.
                read: row - 1 - usize::from(asked == wanted),
                second_cut: pair && asked < wanted,
                answers: [wanted, asked],
            }
        };
        let full = docs.iter().filter(|&&doc| !documents.ids(doc).is_empty());
        Ok(Coverage::of(Some("tokens to say"), full.map(read)))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = able(network.as_causal_lm(), Clm::NAME)?;
        let (targets, weights) = feed.targets("targets")?;
        model.loss(tape, &feed.tokens()?, targets, weights)
    }
}
