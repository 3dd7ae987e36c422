//! Batches for masked-LM pretraining, with or without next-sentence prediction.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{IGNORE, Position};
use super::documents::Documents;
use super::epochs::{Batches, Epochs, Maker, Plan, Shape};
use super::masking::{Masker, Masking};
use super::pairs::{self, PairOptions};
use super::sequences::{Frame, Rows, Sequences, check_shape};
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// What a sequence holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[CLS] document [SEP]`; longer documents are cut, none is lost. Batches have the length of
    /// one of a few buckets.
    #[default]
    Sentences,
    /// Blocks of `max_len` filled across documents, `[SEP]` after each.
    Packed,
    /// `[CLS] a [SEP] b [SEP]`, where b follows a in its document or comes from another one.
    Pairs,
}

/// How documents become masked batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaskedOptions {
    /// B, rows of every batch.
    pub batch: usize,
    /// Longest length, special tokens included.
    pub max_len: usize,
    /// What a sequence holds.
    pub layout: Layout,
    /// Pad to one of a few lengths; otherwise every batch is `max_len` long.
    pub buckets: bool,
    /// Draw the order anew for every epoch.
    pub shuffle: bool,
    /// The masks.
    pub masking: Masking,
    /// For [`Layout::Pairs`].
    pub pairs: PairOptions,
}

/// A batch of masked sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedBatch {
    /// The inputs, masked.
    pub inputs: Rows,
    /// (M) the rows `b * T + t` of the positions to be guessed, ascending; `u32::MAX` after the
    /// last. M depends on T alone.
    pub rows: Vec<u32>,
    /// (M) what stood there; [`IGNORE`] after the last.
    pub targets: Vec<i32>,
    /// Positions to be guessed: M' of the M.
    pub masked: usize,
    /// (B) for pairs: 0 when the second text follows the first, 1 when it does not (as in
    /// transformers); [`IGNORE`] for a row without sequence.
    pub next_sentence: Option<Vec<i32>>,
    /// The masking rate of this batch.
    pub rate: f64,
    /// This batch's own position.
    pub position: Position,
}

/// An endless stream of [`MaskedBatch`]es, each masked at the rate of its progress: the step over the
/// number of steps.
pub type MaskedBatches = Batches<Masked>;

/// Makes masked batches.
pub struct Masked {
    documents: Arc<Documents>,
    vocabulary: Vocabulary,
    sequences: Sequences,
    /// For pairs.
    next_sentence: Option<Vec<i32>>,
    frame: Frame,
    masker: Masker,
    batch: usize,
}

impl MaskedBatches {
    /// A stream over the documents `which` (empty ones are passed over).
    ///
    /// # Errors
    /// [`Error::Argument`] for a zero batch, a length below 5, or ratios out of range;
    /// [`Error::Tokenizer`] when a special token is missing; [`Error::EmptyText`] when there is
    /// no token; for pairs those of [`pairs::compose`].
    pub fn new(
        documents: Arc<Documents>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: &MaskedOptions,
        seed: u64,
    ) -> Result<Self> {
        const OP: &str = "masked batches";
        check_shape(OP, options.batch, options.max_len)?;
        let frame = Frame::whole(vocabulary)?;
        frame.check(OP, options.max_len)?;
        let masker = Masker::new(options.masking, vocabulary)?;
        let mut which = which.to_vec();
        which.sort_unstable();
        let max_len = options.max_len;
        let (sequences, next_sentence) = match options.layout {
            Layout::Sentences => (
                Sequences::sentences(&documents, &which, frame, max_len),
                None,
            ),
            Layout::Packed => {
                let seed = options.shuffle.then_some(seed);
                let blocks = Sequences::packed(&documents, &which, frame, max_len, seed);
                (blocks, None)
            }
            Layout::Pairs => {
                let (pairs, labels) = pairs::compose(
                    &documents,
                    &which,
                    frame,
                    max_len,
                    vocabulary,
                    &options.pairs,
                    seed,
                )?;
                (pairs, Some(labels))
            }
        };
        if sequences.is_empty() {
            return Err(Error::EmptyText {
                path: "the text to pretrain on".into(),
            });
        }
        let numbers: Vec<u32> = (0..sequences.len() as u32).collect();
        let lengths = numbers
            .iter()
            .map(|&number| sequences.length(number, frame, next_sentence.is_some()))
            .collect();
        let buckets = options.buckets && options.layout != Layout::Packed;
        let shape = Shape::new(options.batch, max_len, buckets, options.shuffle);
        Ok(Batches {
            epochs: Epochs::new(numbers, lengths, shape, seed),
            maker: Masked {
                documents,
                vocabulary: vocabulary.clone(),
                sequences,
                next_sentence,
                frame,
                masker,
                batch: options.batch,
            },
        })
    }

    /// How many tokens of each document are in some sequence; documents without one are left out.
    pub fn read(&self) -> HashMap<u32, usize> {
        let sequences = &self.maker.sequences;
        let mut pieces: Vec<(u32, u32, u32)> = (0..sequences.len() as u32)
            .flat_map(|number| sequences.pieces(number))
            .map(|piece| (piece.doc, piece.start, piece.end))
            .collect();
        pieces.sort_unstable();
        let mut read: HashMap<u32, (usize, u32)> = HashMap::new();
        for (doc, start, end) in pieces {
            // A false pair reads again what stands elsewhere.
            let (tokens, before) = read.entry(doc).or_default();
            *tokens += end.saturating_sub(start.max(*before)) as usize;
            *before = end.max(*before);
        }
        let tokens = |(doc, (tokens, _))| (doc, tokens);
        read.into_iter().map(tokens).collect()
    }

    /// The shapes (T, M) that occur, ascending: M is the room for masked positions.
    pub fn shapes(&self) -> Vec<(usize, usize)> {
        let Masked { masker, batch, .. } = &self.maker;
        let room = |time| (time, masker.room(*batch, time));
        self.lengths().into_iter().map(room).collect()
    }
}

impl Maker for Masked {
    type Batch = MaskedBatch;

    fn make(&self, plan: &Plan, position: Position, progress: f64) -> MaskedBatch {
        let rate = self.masker.rate(progress);
        let mut inputs = Rows::empty(self.batch, plan.time, self.frame);
        let room = self.masker.room(self.batch, plan.time);
        let (mut rows, mut targets) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut candidates = Vec::new();
        let mut flags = Vec::new();
        for (b, &number) in plan.items.iter().enumerate() {
            let pieces = self.sequences.pieces(number);
            // A later piece of a block is no second text.
            let pair = self.next_sentence.is_some();
            let texts = pieces.iter().enumerate();
            let texts = texts.map(|(n, piece)| (piece.ids(&self.documents), pair && n > 0));
            candidates.clear();
            flags.clear();
            flags.resize(plan.time, false);
            inputs.write(b, self.frame, texts, &mut |n, start| {
                let piece = pieces[n];
                for (t, (at, &id)) in
                    (start..).zip((piece.start as usize..).zip(piece.ids(&self.documents)))
                {
                    if !self.vocabulary.is_special(id) {
                        candidates.push(t);
                    }
                    // A piece may begin inside a word; what is there of it is its word.
                    flags[t] = t > start
                        && self
                            .documents
                            .continues(piece.doc, at)
                            .unwrap_or_else(|| self.vocabulary.continues(id));
                }
            });
            let row = &mut inputs.ids[b * plan.time..(b + 1) * plan.time];
            let masked = self.masker.mask(
                row,
                &candidates,
                &|t| flags[t],
                rate,
                room - rows.len(),
                self.masker.rng(position, number),
            );
            for one in masked {
                rows.push((b * plan.time + one.at) as u32);
                targets.push(one.target as i32);
            }
        }
        let masked = rows.len();
        rows.resize(room, u32::MAX);
        targets.resize(room, IGNORE);
        let next_sentence = self.next_sentence.as_ref().map(|labels| {
            let known = plan.items.iter().map(|&number| labels[number as usize]);
            known
                .chain(std::iter::repeat(IGNORE))
                .take(self.batch)
                .collect()
        });
        MaskedBatch {
            inputs: inputs.indexed(),
            rows,
            targets,
            masked,
            next_sentence,
            rate,
            position,
        }
    }
}
