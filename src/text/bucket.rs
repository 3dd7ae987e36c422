//! Batches of whole documents, for classification and for sequence autoencoding.
//!
//! Documents of similar length share a batch, padded to one of a few lengths: the GPU step is
//! recorded once for each shape, so there must be few. A bucket that cannot fill its last batch
//! hands the rest to the next longer one; only the very last batch of an epoch is short.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{IGNORE, NO_DOC, Position, drop_words};
use super::documents::Documents;
pub use super::epochs::LENGTHS;
use super::epochs::{Batches, Epochs, Maker, Plan, Shape, ordered};
use super::lm::check_sizes;
use super::tokenizer::{EOS, PAD};
use crate::kernels::token_index::TokenIndex;
use crate::{Error, Result};

/// Which end of a document that is too long is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The beginning.
    Head,
    /// The end, where a review's verdict often stands.
    #[default]
    Tail,
}

impl Keep {
    /// At most `most` of a document's tokens.
    pub(super) fn of<T>(self, tokens: &[T], most: usize) -> &[T] {
        match self {
            Keep::Head => &tokens[..tokens.len().min(most)],
            Keep::Tail => &tokens[tokens.len().saturating_sub(most)..],
        }
    }
}

/// How documents become batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketOptions {
    /// B, rows of every batch.
    pub batch: usize,
    /// Longest length, the `<eos>` of an autoencoder included; longer documents are cut.
    pub max_len: usize,
    /// Which end of a document that is too long is kept.
    pub keep: Keep,
    /// Draw the order anew for every epoch; otherwise by length, then by number.
    pub shuffle: bool,
    /// Probability with which an input word becomes `<unk>`. Targets stay.
    pub word_dropout: f32,
    /// Also give the decoder's inputs and targets (sequence autoencoder).
    pub autoencode: bool,
}

/// A batch of documents, without `<eos>`: what a language model keeps of a text is gone once it has
/// read the end. Everything is time-major: index `t * B + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceBatch {
    /// T, the padded length.
    pub time: usize,
    /// B.
    pub batch: usize,
    /// (T, B) ids; `<pad>` from `lens[b]` on.
    pub ids: Vec<u32>,
    /// (B) lengths; 0 for a row without document.
    pub lens: Vec<u32>,
    /// (B) classes; [`IGNORE`] for an unlabelled document and a row without one.
    pub labels: Vec<i32>,
    /// (B) numbers of the documents; [`NO_DOC`] for a row without one.
    pub docs: Vec<u32>,
    /// The inputs grouped by token.
    pub index: TokenIndex,
    /// For autoencoding.
    pub decoder: Option<Decoder>,
    /// This batch's own position.
    pub position: Position,
}

/// What the decoder of a sequence autoencoder reads and must say (Dai & Le 2015, figure 1):
/// `<eos>` tells it to begin, and it ends with one.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder {
    /// (B) lengths, one more than the document's; 0 for a row without document.
    pub lens: Vec<u32>,
    /// (T, B) `<eos>` and the document: the targets shifted by one.
    pub ids: Vec<u32>,
    /// (T, B) the document and `<eos>`; [`IGNORE`] from `lens[b]` on.
    pub targets: Vec<i32>,
    /// The decoder's inputs grouped by token.
    pub index: TokenIndex,
}

/// An endless stream of [`SequenceBatch`]es.
pub type BucketBatches = Batches<Bucketed>;

/// Makes batches of whole documents.
pub struct Bucketed {
    documents: Arc<Documents>,
    options: BucketOptions,
}

impl BucketBatches {
    /// A stream over the documents `which`.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a zero batch, a length below 2, or a dropout outside 0..1;
    /// [`crate::Error::EmptyText`] when there is no document.
    pub fn new(
        documents: Arc<Documents>,
        which: &[u32],
        options: BucketOptions,
        seed: u64,
    ) -> Result<Self> {
        const OP: &str = "document batches";
        if options.max_len < 2 {
            let expected = "2 or more: a word, and the <eos> behind it";
            return Err(Error::argument(OP, "max_len", options.max_len, expected));
        }
        check_sizes(OP, options.batch, options.max_len, options.word_dropout)?;
        let which = ordered(which.iter().copied(), "the documents to make batches of")?;
        // With its <eos>, after cutting.
        let length = |&doc: &u32| (documents.ids(doc).len() + 1).min(options.max_len);
        let lengths = which.iter().map(length).collect();
        let shape = Shape::new(options.batch, options.max_len, true, options.shuffle);
        Ok(Batches {
            epochs: Epochs::new(which, lengths, shape, seed),
            maker: Bucketed { documents, options },
        })
    }
}

impl Maker for Bucketed {
    type Batch = SequenceBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> SequenceBatch {
        let (time, batch) = (plan.time, self.options.batch);
        let mut ids = vec![PAD; time * batch];
        let mut lens = vec![0; batch];
        let mut labels = vec![IGNORE; batch];
        let mut docs = vec![NO_DOC; batch];
        for (b, &doc) in plan.items.iter().enumerate() {
            let most = self.options.max_len - 1;
            let kept = self.options.keep.of(self.documents.ids(doc), most);
            for (t, &id) in kept.iter().enumerate() {
                ids[t * batch + b] = id;
            }
            lens[b] = kept.len() as u32;
            labels[b] = self.documents.label(doc).map_or(IGNORE, |l| l as i32);
            docs[b] = doc;
        }
        let dropout = self.options.word_dropout;
        let decoder = self
            .options
            .autoencode
            .then(|| Decoder::new(&ids, &lens, &docs, dropout, position));
        drop_words(&mut ids, dropout, position, 0);
        let index = TokenIndex::new(&ids, &lens);
        SequenceBatch {
            time,
            batch,
            ids,
            lens,
            labels,
            docs,
            index,
            decoder,
            position,
        }
    }
}

impl Decoder {
    fn new(ids: &[u32], lens: &[u32], docs: &[u32], dropout: f32, position: Position) -> Self {
        let batch = lens.len();
        let mut inputs = vec![PAD; ids.len()];
        let mut targets = vec![IGNORE; ids.len()];
        let lens: Vec<u32> = lens
            .iter()
            .zip(docs)
            .map(|(&len, &doc)| if doc == NO_DOC { 0 } else { len + 1 })
            .collect();
        for (b, &len) in lens.iter().enumerate() {
            let mut before = EOS;
            for t in 0..len as usize {
                let at = t * batch + b;
                let word = if t + 1 == len as usize { EOS } else { ids[at] };
                inputs[at] = before;
                targets[at] = word as i32;
                before = word;
            }
        }
        drop_words(&mut inputs, dropout, position, 1);
        let index = TokenIndex::new(&inputs, &lens);
        Self {
            lens,
            ids: inputs,
            targets,
            index,
        }
    }
}
