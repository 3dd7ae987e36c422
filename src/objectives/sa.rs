//! "sa": a sequence autoencoder.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Batches, Named, Targets};
use super::coverage::Coverage;
use super::criterion::{Criterion, Purpose, Setup, able};
use super::feed::Feed;
use super::{LENGTH, Objective, WrongOption, check_length};
use crate::error::Result;
use crate::hub::Head;
use crate::models::{Network, Tokens};
use crate::tensor::{Tape, Tensor};
use crate::text::bucket::Decoder;
use crate::text::{BucketBatches, BucketOptions, Keep, SequenceBatch};

/// Reads a text, then writes it (Dai & Le 2015, section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sa {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: Keep,
}

impl Sa {
    /// Its name in the run file.
    pub const NAME: &'static str = "sa";
}

impl Default for Sa {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: Keep::default(),
        }
    }
}

impl Objective for Sa {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "to write the text that was read"
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Autoencoder)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    /// To read a text, and to write it.
    fn passes(&self) -> usize {
        2
    }

    fn kept_end(&self) -> Keep {
        self.kept_end
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        let options = self.clone();
        Ok(Box::new(Reconstruction { options, setup }))
    }
}

/// Texts, and the same to be written.
struct Reconstruction {
    options: Sa,
    setup: Setup,
}

impl Criterion for Reconstruction {
    fn title(&self) -> String {
        "sequence autoencoder".into()
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let Sa { max_len, kept_end } = self.options;
        let options = BucketOptions {
            batch: self.setup.batch,
            max_len,
            keep: kept_end,
            shuffle: purpose.shuffles(),
            word_dropout: self.setup.word_dropout(purpose),
            autoencode: true,
        };
        let documents = self.setup.documents.clone();
        let stream = BucketBatches::new(documents, docs, options, purpose.seed())?;
        // A text and its <eos>.
        let work = self.setup.tokens(docs, 1, max_len);
        Ok(Box::new(Named::new(stream, work, |b: SequenceBatch| {
            let shape = [b.time, b.batch];
            let batch = Batch::new(b.time, 0)
                .ids("ids", b.ids, b.index, shape)
                .numbers("lens", b.lens);
            shifted(batch, b.decoder, shape)
        })))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        let what = Some("words to write");
        Ok(self.setup.beginnings(docs, self.options.max_len - 1, what))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = able(network.as_autoencoder(), Sa::NAME)?;
        let (targets, weights) = feed.targets("targets")?;
        let (read, write) = (feed.tokens()?, shifted_tokens(feed)?);
        model.loss(tape, &read, &write, targets, weights)
    }
}

/// A batch with what its decoder reads and must say; its work is what is written.
fn shifted(batch: Batch, decoder: Option<Decoder>, shape: [usize; 2]) -> Batch {
    let Some(decoder) = decoder else { return batch };
    let targets = Targets::classes(decoder.targets);
    let work = targets.count() as u64;
    Batch { work, ..batch }
        .ids("shifted", decoder.ids, decoder.index, shape)
        .numbers("shifted_lens", decoder.lens)
        .targets("targets", targets)
}

/// What the decoder reads.
pub(super) fn shifted_tokens(feed: &Feed) -> Result<Tokens<'_>> {
    let lens = feed.numbers("shifted_lens")?;
    Ok(Tokens::new(feed.ids("shifted")?, lens))
}
