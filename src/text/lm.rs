//! Batches for language-model pretraining: one long stream of text in B lanes.
//!
//! The texts, in an order drawn anew for every epoch, form the stream
//! `<eos> text <eos> text <eos> ...`, which is cut in B lanes of equal length. A batch is the next
//! T tokens of every lane: the state at the end of one window is where the next one begins
//! (truncated back-propagation through time). Every token of the text is a target exactly once
//! in an epoch, so perplexity is over all of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{IGNORE, Position, drop_words};
use super::documents::Documents;
use super::epochs::{Stream, ordered};
use super::joined::Joined;
use super::rng::Rng;
use super::tokenizer::{EOS, PAD};
use crate::kernels::token_index::TokenIndex;
use crate::{Error, Result};

/// How the stream is cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LmOptions {
    /// B, the number of lanes.
    pub batch: usize,
    /// T, the tokens of a window.
    pub window: usize,
    /// Draw the order of the documents anew for every epoch; otherwise keep theirs.
    pub shuffle: bool,
    /// Probability with which an input word becomes `<unk>`. Targets stay.
    pub word_dropout: f32,
}

/// One window of all lanes. Everything is time-major: index `t * B + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct LmBatch {
    /// T.
    pub time: usize,
    /// B.
    pub batch: usize,
    /// (T, B) input ids; `<pad>` after a lane's end.
    pub ids: Vec<u32>,
    /// (T, B) next tokens; [`IGNORE`] after a lane's end.
    pub targets: Vec<i32>,
    /// (B) tokens of each lane in this window: T but in the last windows of an epoch.
    pub lens: Vec<u32>,
    /// True for the first window of an epoch: begin from the zero state.
    pub reset: bool,
    /// The inputs grouped by token.
    pub index: TokenIndex,
    /// This batch's own position.
    pub position: Position,
}

/// An endless stream of [`LmBatch`]es.
pub struct LmBatches {
    documents: Arc<Documents>,
    options: LmOptions,
    /// The documents, ascending.
    order: Vec<u32>,
    /// Their texts in this epoch's order.
    joined: Joined,
    position: Position,
    planned: Option<u64>,
}

impl LmBatches {
    /// A stream over the documents `which` (empty ones are passed over).
    ///
    /// # Errors
    /// [`Error::Argument`] for a zero batch or window, or a dropout outside 0..1;
    /// [`Error::EmptyText`] when there is no token.
    pub fn new(
        documents: Arc<Documents>,
        which: &[u32],
        options: LmOptions,
        seed: u64,
    ) -> Result<Self> {
        check_sizes(
            "lm batches",
            options.batch,
            options.window,
            options.word_dropout,
        )?;
        let full = which.iter().copied();
        let full = full.filter(|&doc| !documents.ids(doc).is_empty());
        let order = ordered(full, "the text to pretrain on")?;
        let mut batches = Self {
            joined: Joined::new(documents.clone(), &order, EOS, None),
            order,
            documents,
            options,
            position: Position::start(seed),
            planned: None,
        };
        batches.plan();
        Ok(batches)
    }

    /// Targets in an epoch: all tokens of the texts and one `<eos>` for each text.
    pub fn tokens_per_epoch(&self) -> u64 {
        self.joined.len()
    }

    /// Targets of one lane.
    fn lane(&self) -> u64 {
        self.tokens_per_epoch().div_ceil(self.options.batch as u64)
    }

    fn plan(&mut self) {
        if self.planned == Some(self.position.epoch) {
            return;
        }
        let Position { seed, epoch, .. } = self.position;
        let shuffles = self.options.shuffle;
        let rng = shuffles.then(|| Rng::new(seed, &[0x111, epoch]));
        self.joined = Joined::new(self.documents.clone(), &self.order, EOS, rng);
        self.planned = Some(epoch);
    }
}

impl Stream for LmBatches {
    type Batch = LmBatch;

    fn batches_per_epoch(&self) -> u64 {
        self.lane().div_ceil(self.options.window as u64)
    }

    fn position(&self) -> Position {
        self.position
    }

    fn seek(&mut self, position: Position) {
        self.position = position.normal(self.batches_per_epoch());
        self.planned = None;
        self.plan();
    }

    fn next_at(&mut self, _: f64) -> LmBatch {
        self.plan();
        let LmOptions {
            batch,
            window: time,
            word_dropout,
            ..
        } = self.options;
        let (lane, total, position) = (self.lane(), self.tokens_per_epoch(), self.position);
        let mut ids = vec![PAD; time * batch];
        let mut targets = vec![IGNORE; time * batch];
        let mut lens = vec![0; batch];
        for (b, len) in lens.iter_mut().enumerate() {
            let lane_end = ((b as u64 + 1) * lane).min(total);
            let from = b as u64 * lane + position.index * time as u64;
            let to = (from + time as u64).min(lane_end);
            if from >= to {
                continue;
            }
            *len = (to - from) as u32;
            let mut input = self.joined.before(from);
            for (t, next) in self.joined.targets(from).take(*len as usize).enumerate() {
                ids[t * batch + b] = input;
                targets[t * batch + b] = next as i32;
                input = next;
            }
        }
        drop_words(&mut ids, word_dropout, position, 0);
        self.position = position.next(self.batches_per_epoch());
        let index = TokenIndex::new(&ids, &lens);
        LmBatch {
            time,
            batch,
            ids,
            targets,
            lens,
            reset: position.index == 0,
            index,
            position,
        }
    }
}

pub(super) fn check_sizes(op: &'static str, batch: usize, time: usize, dropout: f32) -> Result<()> {
    if batch == 0 {
        return Err(Error::argument(op, "batch", batch, "1 or more"));
    }
    // Positions of a batch are u32.
    let positions = batch.checked_mul(time);
    if time == 0 || positions.is_none_or(|n| n >= u32::MAX as usize) {
        let expected = "1 or more, and batch * length below 2^32";
        return Err(Error::argument(op, "length", time, expected));
    }
    if !(0.0..1.0).contains(&dropout) {
        let expected = "0 or more and below 1";
        return Err(Error::argument(op, "word_dropout", dropout, expected));
    }
    Ok(())
}
