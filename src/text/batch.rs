//! What all batches share: their position, the index that makes the embedding's gradient
//! deterministic, word dropout.

use serde::{Deserialize, Serialize};

use super::rng::Rng;
use super::tokenizer::{SPECIALS, UNK};

/// Marks a row of a batch that holds no document.
pub const NO_DOC: u32 = u32::MAX;
/// Marks a target or label that does not count (as `u32`: all bits set).
pub const IGNORE: i32 = -1;

/// Where a stream of batches stands. Streams made with the same documents and options that
/// `seek` the same position yield the same batches from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Seed of the order and of word dropout.
    pub seed: u64,
    /// Passes over the data that are complete.
    pub epoch: u64,
    /// Number, within its pass, of the batch that comes next.
    pub index: u64,
}

/// The positions of a batch, grouped by token: the gradient of embedding row `rows[k]` is the
/// sum over `order[starts[k]..starts[k + 1]]`, in that order, of the gradients at these positions
/// of the flattened (T, B) ids. Summed so, equal runs give equal bits without atomics.
///
/// All lengths depend on N = T * B alone, so that a recorded step can be replayed: segments from
/// `segments` on are empty and their row is 0. Padding positions are in no segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIndex {
    /// (N) distinct token ids, ascending, then zeros.
    pub rows: Vec<u32>,
    /// (N + 1) where each segment starts in `order`.
    pub starts: Vec<u32>,
    /// (N) positions sorted by token id, equal ids by position, then zeros.
    pub order: Vec<u32>,
    /// Number of segments that hold something.
    pub segments: usize,
}

impl TokenIndex {
    /// The index of time-major (T, B) `ids`, of which column `b` holds `lens[b]` tokens.
    pub fn new(ids: &[u32], lens: &[u32]) -> Self {
        let capacity = ids.len();
        let batch = lens.len().max(1);
        // One sortable number a position; all differ, so an unstable sort is a stable one.
        let mut keys: Vec<u64> = (0u32..)
            .zip(ids)
            .filter(|&(position, _)| position / (batch as u32) < lens[position as usize % batch])
            .map(|(position, &id)| u64::from(id) << 32 | u64::from(position))
            .collect();
        keys.sort_unstable();
        let mut index = Self {
            rows: Vec::with_capacity(capacity),
            starts: Vec::with_capacity(capacity + 1),
            order: Vec::with_capacity(capacity),
            segments: 0,
        };
        for key in keys {
            let (id, position) = ((key >> 32) as u32, key as u32);
            if index.rows.last() != Some(&id) {
                index.rows.push(id);
                index.starts.push(index.order.len() as u32);
            }
            index.order.push(position);
        }
        index.segments = index.rows.len();
        index.starts.resize(capacity + 1, index.order.len() as u32);
        index.rows.resize(capacity, 0);
        index.order.resize(capacity, 0);
        index
    }
}

/// Replaces each word by `<unk>` with probability `p` (Dai & Le 2015, section 2; Iyyer et al.
/// 2015). Special tokens stay. `salt` tells apart several uses for one batch.
pub(super) fn drop_words(ids: &mut [u32], p: f32, position: Position, salt: u64) {
    if p <= 0.0 {
        return;
    }
    let mut rng = Rng::new(
        position.seed,
        &[0xD80F, position.epoch, position.index, salt],
    );
    for id in ids {
        // Drawn for every position, so that what is dropped here does not depend on what is there.
        if rng.chance(f64::from(p)) && *id >= SPECIALS.len() as u32 {
            *id = UNK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_groups_positions_by_token() {
        // (T, B) = (3, 2); the second column has one token.
        let index = TokenIndex::new(&[7, 5, 4, 9, 7, 9], &[3, 1]);
        assert_eq!(index.rows, [4, 5, 7, 0, 0, 0]);
        assert_eq!(index.starts, [0, 1, 2, 4, 4, 4, 4]);
        assert_eq!(index.order, [2, 1, 0, 4, 0, 0]);
        assert_eq!(index.segments, 3);
    }

    #[test]
    fn index_sums_what_a_scatter_sums() {
        let (time, batch) = (13, 7);
        let mut rng = Rng::new(1, &[]);
        let ids: Vec<u32> = (0..time * batch).map(|_| rng.below(17) as u32).collect();
        let lens: Vec<u32> = (0..batch).map(|_| rng.below(time + 1) as u32).collect();
        let index = TokenIndex::new(&ids, &lens);
        let mut expected = [0u64; 17];
        for (position, &id) in ids.iter().enumerate() {
            if ((position / batch) as u32) < lens[position % batch] {
                expected[id as usize] += position as u64 + 1;
            }
        }
        let mut found = [0u64; 17];
        for (row, range) in index.rows.iter().zip(index.starts.windows(2)) {
            let segment = &index.order[range[0] as usize..range[1] as usize];
            assert!(segment.is_sorted());
            found[*row as usize] += segment.iter().map(|&p| u64::from(p) + 1).sum::<u64>();
        }
        assert_eq!(found, expected);
        assert_eq!(index.starts.len(), time * batch + 1);
    }

    #[test]
    fn word_dropout_has_its_rate_and_spares_specials() {
        let position = Position {
            seed: 1,
            epoch: 2,
            index: 3,
        };
        let mut ids = vec![10; 10_000];
        ids[..100].fill(3);
        drop_words(&mut ids, 0.3, position, 0);
        assert!(ids[..100].iter().all(|&id| id == 3));
        let dropped = ids.iter().filter(|&&id| id == UNK).count();
        // 2970 expected; 4 standard deviations are 183.
        assert!(dropped.abs_diff(2970) < 183, "{dropped}");
        let mut again = vec![10; 10_000];
        again[..100].fill(3);
        drop_words(&mut again, 0.3, position, 0);
        assert_eq!(ids, again);
        drop_words(&mut again, 0.3, position, 1);
        assert_ne!(ids, again);
    }
}
