//! Rows of a table by token, and the deterministic scatter-add that is its gradient.

use super::lanes;
use crate::device::{Gpu, Groups};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "embedding";
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

/// A batch of tokens on the device, (T, B).
#[derive(Clone)]
pub struct TokenIds {
    ids: Tensor,
    rows: Tensor,
    starts: Tensor,
    order: Tensor,
}

impl TokenIds {
    /// Memory for a batch of (T, B) tokens, to be filled by [`TokenIds::write`].
    ///
    /// # Errors
    /// [`crate::Error::TooLarge`] beyond the adapter's limits.
    pub fn empty(gpu: &Gpu, steps: usize, batch: usize) -> Result<TokenIds> {
        let count = steps * batch;
        Ok(TokenIds {
            ids: Tensor::empty(gpu, [steps, batch], DType::U32)?,
            rows: Tensor::empty(gpu, [count], DType::U32)?,
            starts: Tensor::empty(gpu, [count + 1], DType::U32)?,
            order: Tensor::empty(gpu, [count], DType::U32)?,
        })
    }

    /// A batch with the given tokens, row-major (T, B).
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when their number is not T·B; as [`TokenIds::empty`].
    pub fn from_host(gpu: &Gpu, steps: usize, batch: usize, ids: &[u32]) -> Result<TokenIds> {
        let tokens = TokenIds::empty(gpu, steps, batch)?;
        let lens = vec![steps as u32; batch];
        tokens.write(ids, &TokenIndex::new(ids, &lens))?;
        Ok(tokens)
    }

    /// Replaces the tokens.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when their number is another.
    pub fn write(&self, ids: &[u32], index: &TokenIndex) -> Result<()> {
        self.ids.write(ids)?;
        self.rows.write(&index.rows)?;
        self.starts.write(&index.starts)?;
        self.order.write(&index.order)
    }

    /// The tokens, (T, B) u32.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ForwardParams {
    rows: u32,
    width: u32,
    vocab: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    segments: u32,
    width: u32,
    vocab: u32,
    accumulate: u32,
}

/// Rows of `table` (V, C), f32 or f16, for tokens (T, B): (T, B, C) in the element type of the
/// tape's activations. A token beyond the table gives zeros.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn embedding(tape: &Tape, table: &Tensor, tokens: &TokenIds) -> Result<Tensor> {
    let [vocab, width] = table.dims2(OP, "table")?;
    table.expect_float(OP, "table")?;
    let gpu = tape.gpu();
    let [steps, batch] = tokens.ids.dims2(OP, "tokens")?;
    let y = Tensor::empty(gpu, [steps, batch, width], tape.activations())?;
    let count = steps * batch;
    let lanes = lanes(width);
    let variant = Variant::new()
        .with("F16", y.is_half())
        .with("VEC4", lanes == 4);
    let forward = variant.clone().with("TABLE16", table.is_half());
    let kernel = gpu.kernel("embedding_fwd", &forward)?;
    let params = ForwardParams {
        rows: count as u32,
        width: (width / lanes) as u32,
        vocab: vocab as u32,
    };
    let bindings = [tokens.ids.binding(), table.binding(), y.binding()];
    gpu.dispatch(&kernel, &params, &bindings, Groups::Linear(count as u64))?;

    let (tokens, input, out) = (tokens.clone(), table.clone(), y.clone());
    tape.record(OP, &[table], &[&y], move |cx| {
        let (Some(dy), Some(sink)) = (cx.upstream(&out)?, cx.sink(&input)?) else {
            return Ok(());
        };
        if !sink.accumulate {
            sink.grad.clear(); // The kernel writes only the rows that the batch names.
        }
        let kernel = cx.gpu().kernel("embedding_bwd", &variant)?;
        let params = BackwardParams {
            segments: count as u32,
            width: (width / lanes) as u32,
            vocab: vocab as u32,
            accumulate: 1,
        };
        let bindings = [
            tokens.rows.binding(),
            tokens.starts.binding(),
            tokens.order.binding(),
            dy.binding(),
            sink.grad.binding(),
        ];
        cx.gpu()
            .dispatch(&kernel, &params, &bindings, Groups::Linear(count as u64))
    });
    Ok(y)
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
