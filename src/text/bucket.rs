//! Batches of whole documents, for classification and for sequence autoencoding.
//!
//! Documents of similar length share a batch, padded to one of a few lengths: the GPU step is
//! recorded once for each shape, so there must be few. A bucket that cannot fill its last batch
//! hands the rest to the next longer one; only the very last batch of an epoch is short.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{IGNORE, NO_DOC, Position, drop_words};
use super::documents::Documents;
use super::lm::check_sizes;
use super::rng::Rng;
use super::tokenizer::{EOS, PAD};
use crate::ops::TokenIndex;
use crate::{Error, Result};

/// Padded lengths. Each is at most half as long again as the one before, but for the shortest
/// and the longest, where documents are few.
pub const LENGTHS: [usize; 12] = [16, 32, 48, 64, 96, 128, 192, 256, 400, 600, 1000, 2000];

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

/// One batch to come.
#[derive(Clone, Debug, PartialEq)]
struct Plan {
    time: usize,
    docs: Vec<u32>,
}

/// An endless stream of [`SequenceBatch`]es.
pub struct BucketBatches {
    documents: Arc<Documents>,
    which: Vec<u32>,
    options: BucketOptions,
    plan: Vec<Plan>,
    planned: Option<u64>,
    position: Position,
}

impl BucketBatches {
    /// A stream over the documents `which`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a zero batch, a length below 2, or a dropout outside 0..1;
    /// [`Error::EmptyText`] when there is no document.
    pub fn new(
        documents: Arc<Documents>,
        which: &[u32],
        options: BucketOptions,
        seed: u64,
    ) -> Result<Self> {
        // One word and <eos>.
        let time = if options.max_len < 2 {
            0
        } else {
            options.max_len
        };
        check_sizes(
            "document batches",
            options.batch,
            time,
            options.word_dropout,
        )?;
        if which.is_empty() {
            return Err(Error::EmptyText {
                path: "the documents to make batches of".into(),
            });
        }
        let mut which = which.to_vec();
        which.sort_unstable();
        let position = Position {
            seed,
            epoch: 0,
            index: 0,
        };
        let mut batches = Self {
            documents,
            which,
            options,
            plan: Vec::new(),
            planned: None,
            position,
        };
        batches.plan();
        Ok(batches)
    }

    /// Batches in an epoch, the same for every epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.which.len().div_ceil(self.options.batch) as u64
    }

    /// Number of documents in an epoch.
    pub fn documents_per_epoch(&self) -> usize {
        self.which.len()
    }

    /// The padded lengths T that occur, ascending: the shapes to prepare.
    pub fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self.plan.iter().map(|plan| plan.time).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// Position of the batch that comes next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Continues from a position.
    pub fn seek(&mut self, position: Position) {
        self.position = position;
        self.position.epoch += position.index / self.batches_per_epoch();
        self.position.index %= self.batches_per_epoch();
        self.planned = None;
        self.plan();
    }

    /// The next batch; after the last one of an epoch, the first of the next epoch.
    pub fn next_batch(&mut self) -> SequenceBatch {
        self.plan();
        let position = self.position;
        let batch = self.make(&self.plan[position.index as usize], position);
        self.position.index += 1;
        if self.position.index == self.batches_per_epoch() {
            self.position = Position {
                seed: position.seed,
                epoch: position.epoch + 1,
                index: 0,
            };
        }
        batch
    }

    /// Length of a document with its `<eos>`, after cutting.
    fn length(&self, doc: u32) -> usize {
        (self.documents.ids(doc).len() + 1).min(self.options.max_len)
    }

    fn plan(&mut self) {
        if self.planned == Some(self.position.epoch) {
            return;
        }
        let key = |purpose| [purpose, self.position.epoch];
        let mut docs = self.which.clone();
        if self.options.shuffle {
            Rng::new(self.position.seed, &key(0xB0)).shuffle(&mut docs);
        }
        let max_len = self.options.max_len;
        let lengths = LENGTHS
            .into_iter()
            .filter(|&length| length < max_len)
            .chain([max_len]);
        let lengths: Vec<usize> = lengths.collect();
        let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); lengths.len()];
        for doc in docs {
            let length = self.length(doc);
            buckets[lengths.partition_point(|&padded| padded < length)].push(doc);
        }
        let longest = buckets
            .iter()
            .rposition(|bucket| !bucket.is_empty())
            .unwrap_or(0);
        let mut plan = Vec::new();
        let mut waiting: Vec<u32> = Vec::new();
        for (bucket, (docs, &time)) in buckets.into_iter().zip(&lengths).enumerate() {
            waiting.extend(docs);
            while waiting.len() >= self.options.batch || (bucket == longest && !waiting.is_empty())
            {
                let rest = waiting.split_off(waiting.len().min(self.options.batch));
                plan.push(Plan {
                    time,
                    docs: std::mem::replace(&mut waiting, rest),
                });
            }
        }
        if self.options.shuffle {
            Rng::new(self.position.seed, &key(0xB1)).shuffle(&mut plan);
        }
        self.plan = plan;
        self.planned = Some(self.position.epoch);
    }

    fn make(&self, plan: &Plan, position: Position) -> SequenceBatch {
        let (time, batch) = (plan.time, self.options.batch);
        let mut ids = vec![PAD; time * batch];
        let mut lens = vec![0; batch];
        let mut labels = vec![IGNORE; batch];
        let mut docs = vec![NO_DOC; batch];
        for (b, &doc) in plan.docs.iter().enumerate() {
            let all = self.documents.ids(doc);
            let words = self.length(doc) - 1;
            let kept = match self.options.keep {
                Keep::Head => &all[..words],
                Keep::Tail => &all[all.len() - words..],
            };
            for (t, &id) in kept.iter().enumerate() {
                ids[t * batch + b] = id;
            }
            lens[b] = words as u32;
            labels[b] = self
                .documents
                .label(doc)
                .map_or(IGNORE, |label| label as i32);
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
