//! A batch's tokens as `embedding_bwd` reads them.

/// Marks a slot that no token uses.
const NONE: u32 = u32::MAX;

/// The positions of a batch, grouped by token: the gradient of embedding row `rows[k]` is the
/// sum over `order[starts[k]..starts[k + 1]]`, in that order, of the gradients at these positions
/// of the flattened (T, B) ids. Summed so, equal runs give equal bits without atomics.
///
/// All lengths depend on N = T * B alone, so that a recorded step can be replayed: segments from
/// `segments` on are empty and their row is `u32::MAX`. Padding positions are in no segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIndex {
    /// (N) distinct token ids, ascending, then `u32::MAX`.
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
        let batch = lens.len().max(1);
        Self::of(ids, |position| {
            position / batch < lens[position % batch] as usize
        })
    }

    /// The index of batch-major (B, T) `ids`, of which row `b` holds `lens[b]` tokens.
    pub fn of_rows(ids: &[u32], lens: &[u32]) -> Self {
        let time = (ids.len() / lens.len().max(1)).max(1);
        Self::of(ids, |position| {
            position % time < lens[position / time] as usize
        })
    }

    fn of(ids: &[u32], counts: impl Fn(usize) -> bool) -> Self {
        let capacity = ids.len();
        // One sortable number a position; all differ, so an unstable sort is a stable one.
        let mut keys: Vec<u64> = (0u32..)
            .zip(ids)
            .filter(|&(position, _)| counts(position as usize))
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
        index.rows.resize(capacity, NONE);
        index.order.resize(capacity, 0);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::{NONE, TokenIndex};
    use crate::kernels::philox::philox4x32;

    #[test]
    fn index_groups_positions_by_token() {
        // (T, B) = (3, 2); the second column has one token.
        let index = TokenIndex::new(&[7, 5, 4, 9, 7, 9], &[3, 1]);
        assert_eq!(index.rows, [4, 5, 7, NONE, NONE, NONE]);
        assert_eq!(index.starts, [0, 1, 2, 4, 4, 4, 4]);
        assert_eq!(index.order, [2, 1, 0, 4, 0, 0]);
        assert_eq!(index.segments, 3);
        // The same tokens as (B, T) = (2, 3).
        let rows = TokenIndex::of_rows(&[7, 4, 7, 5, 9, 9], &[3, 1]);
        assert_eq!(rows.rows, index.rows);
        assert_eq!(rows.starts, index.starts);
        assert_eq!(rows.order, [1, 3, 0, 2, 0, 0]);
    }

    #[test]
    fn index_sums_what_a_scatter_sums() {
        let (time, batch) = (13, 7);
        let mut draws = (0u32..).map(|i| philox4x32([i, 0, 0, 0], [1, 0])[0] as usize);
        let mut below = |n: usize| draws.next().map_or(0, |word| word % n);
        let ids: Vec<u32> = (0..time * batch).map(|_| below(17) as u32).collect();
        let lens: Vec<u32> = (0..batch).map(|_| below(time + 1) as u32).collect();
        let index = TokenIndex::new(&ids, &lens);
        let mut expected = [0u64; 17];
        for (position, &id) in ids.iter().enumerate() {
            if ((position / batch) as u32) < lens[position % batch] {
                expected[id as usize] += position as u64 + 1;
            }
        }
        let mut found = [0u64; 17];
        for (row, range) in index
            .rows
            .iter()
            .zip(index.starts.windows(2))
            .take(index.segments)
        {
            let segment = &index.order[range[0] as usize..range[1] as usize];
            assert!(segment.is_sorted());
            found[*row as usize] += segment.iter().map(|&p| u64::from(p) + 1).sum::<u64>();
        }
        assert_eq!(found, expected);
        assert_eq!(index.starts.len(), time * batch + 1);
    }
}
