//! Batches of conversations, batch-major, each cut at its end, of which answers are targets: a row each or,
//! packed, as many as fit in a row, none of which sees another.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::documents::ChatDocuments;
use crate::Result;
use crate::text::batch::{IGNORE, Position};
use crate::text::causal::CausalBatch;
use crate::text::documents::Documents;
use crate::text::epochs::{Batches, Epochs, Maker, Plan, Shape, ordered};
use crate::text::rng::Rng;
use crate::text::sequences::{Frame, Rows, check_shape};
use crate::text::vocabulary::Vocabulary;

/// How conversations become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    /// B, rows of every batch.
    pub batch: usize,
    /// The tokens of the longest row; of a longer conversation the rest is cut off.
    pub max_len: usize,
    /// Draw the order of the rows anew for every epoch.
    pub shuffle: bool,
    /// Fill rows with several conversations.
    pub packing: bool,
}

/// Rows of conversations.
pub struct ChatBatch {
    /// The inputs and what is learned of them.
    pub rows: CausalBatch,
    /// Tokens that are read: no padding, nor what lies between conversations.
    pub read: u64,
    /// (B, T) where in its row each token's conversation begins, where rows hold several.
    pub starts: Option<Vec<u32>>,
}

/// Conversations of a row begin at multiples of this: a tile of the attention kernels. So their sums are those
/// that they have alone, to the bit.
pub const SEGMENT: usize = 32;

/// An endless stream of rows of conversations.
pub type ChatBatches = Batches<Turns>;

/// Makes batches of conversations.
pub struct Turns {
    documents: Arc<Documents>,
    chats: Arc<ChatDocuments>,
    /// The conversations of each row.
    rows: Vec<Vec<u32>>,
    packing: bool,
    max_len: usize,
    batch: usize,
    frame: Frame,
}

impl ChatBatches {
    /// A stream over the documents `which`; those of which nothing is left to learn are passed over.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a zero batch or a length below 5; [`crate::Error::Tokenizer`] where no
    /// token can fill rows; [`crate::Error::EmptyText`] where nothing is left to learn at all.
    pub fn new(
        documents: Arc<Documents>,
        chats: Arc<ChatDocuments>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: &ChatOptions,
        seed: u64,
    ) -> Result<Self> {
        let &ChatOptions {
            batch,
            max_len,
            shuffle,
            packing,
        } = options;
        check_shape("batches of conversations", batch, max_len)?;
        let roles = vocabulary.roles();
        let pad = match roles.pad {
            Some(pad) => pad,
            None => vocabulary.need("eos_token", "padding")?,
        };
        let learns = |doc: &u32| chats.learned_of(*doc, max_len) > 0;
        let left = which.iter().copied().filter(learns);
        let order = ordered(left, "what is left of the conversations at this max_len")?;
        // The last token of a conversation is a target alone.
        let length = |&doc: &u32| documents.ids(doc).len().min(max_len) - 1;
        let lengths: Vec<usize> = order.iter().map(length).collect();
        let all = order.into_iter().zip(lengths.iter().copied());
        let rows = match packing {
            true => packed(all.collect(), max_len - 1, seed),
            false => all.map(|(doc, _)| vec![doc]).collect(),
        };
        let lengths = match packing {
            true => vec![max_len - 1; rows.len()],
            false => lengths,
        };
        let shape = Shape::new(batch, max_len - 1, !packing, shuffle);
        let numbers = (0..rows.len() as u32).collect();
        Ok(Batches {
            epochs: Epochs::new(numbers, lengths, shape, seed),
            maker: Turns {
                documents,
                chats,
                rows,
                packing,
                max_len,
                batch,
                frame: Frame::none(pad),
            },
        })
    }

    /// Tokens that are read in an epoch.
    pub fn tokens_per_epoch(&self, docs: &[u32]) -> u64 {
        let own = &self.maker;
        let learns = |doc: &&u32| own.chats.learned_of(**doc, own.max_len) > 0;
        let length = |&doc: &u32| own.documents.ids(doc).len().min(own.max_len) as u64 - 1;
        docs.iter().filter(learns).map(length).sum()
    }
}

/// Which conversations, each with its length, share a row of `room` tokens: the longest first, each where
/// least room is left behind it. Of equal length they come in an order that is drawn from `seed`.
fn packed(mut all: Vec<(u32, usize)>, room: usize, seed: u64) -> Vec<Vec<u32>> {
    Rng::new(seed, &[0xC4A7]).shuffle(&mut all);
    all.sort_by_key(|&(_, length)| Reverse(length));
    let mut rows: Vec<Vec<u32>> = Vec::new();
    // Rows by the room that they have left.
    let mut left: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (doc, length) in all {
        let found = left.range(length..).next().map(|(room, _)| *room);
        let row = found.and_then(|room| {
            let rows = left.get_mut(&room)?;
            let row = rows.pop()?;
            if rows.is_empty() {
                left.remove(&room);
            }
            Some((row, room))
        });
        let (row, room) = row.unwrap_or((rows.len(), room));
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push(doc);
        let room = room.saturating_sub(length.next_multiple_of(SEGMENT));
        if room > 0 {
            left.entry(room).or_default().push(row);
        }
    }
    rows
}

impl Maker for Turns {
    type Batch = ChatBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> ChatBatch {
        let time = plan.time;
        let mut inputs = Rows::empty(self.batch, time, self.frame);
        let mut targets = vec![IGNORE; inputs.ids.len()];
        let mut starts = vec![0; inputs.ids.len()];
        let mut read = 0;
        for (b, &row) in plan.items.iter().enumerate() {
            let mut start = 0;
            for &doc in &self.rows[row as usize] {
                let ids = self.documents.ids(doc);
                let ids = &ids[..ids.len().min(self.max_len)];
                let (own, from) = (&ids[..ids.len() - 1], b * time + start);
                inputs.ids[from..from + own.len()].copy_from_slice(own);
                starts[from..(b + 1) * time].fill(start as u32);
                for range in self.chats.learned(doc) {
                    for at in (range.start as usize).max(1)..(range.end as usize).min(ids.len()) {
                        targets[from + at - 1] = ids[at] as i32;
                    }
                }
                inputs.lens[b] = (start + own.len()) as u32;
                read += own.len() as u64;
                start = (start + own.len()).next_multiple_of(SEGMENT);
            }
        }
        ChatBatch {
            rows: CausalBatch {
                inputs: inputs.indexed(),
                predicted: targets.iter().filter(|&&target| target != IGNORE).count(),
                targets,
                position,
            },
            read,
            starts: self.packing.then_some(starts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_fill_rows_and_none_is_lost() {
        let lengths = [5, 100, 31, 32, 33, 64, 1, 90, 12, 40, 127, 7];
        let all: Vec<(u32, usize)> = (0..).zip(lengths).collect();
        let rows = packed(all.clone(), 127, 3);
        let mut found = rows.concat();
        found.sort_unstable();
        assert_eq!(found, (0..12).collect::<Vec<u32>>());
        for row in &rows {
            let end = row.iter().fold(0usize, |end, doc| {
                end.next_multiple_of(SEGMENT) + lengths[*doc as usize]
            });
            assert!(end <= 127, "{row:?}");
        }
        // Six, as by hand: 127; 100; 90 31; 64 40; 33 32 12; 7 5 1.
        assert_eq!(rows.len(), 6);
        assert_eq!(rows, packed(all, 127, 3));
        let equal: Vec<(u32, usize)> = (0..40).map(|doc| (doc, 20)).collect();
        assert_ne!(packed(equal.clone(), 127, 1), packed(equal, 127, 2));
    }
}
