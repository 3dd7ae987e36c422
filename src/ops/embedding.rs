//! Rows of a table by token, and the deterministic scatter-add that is its gradient.

use crate::device::{Gpu, Groups};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "embedding";
/// Marks a slot that no token uses.
const NONE: u32 = u32::MAX;

/// Positions of a batch sorted by token, so that gradients of equal tokens are added in a fixed
/// order, without atomics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIndex {
    /// The different tokens, then `u32::MAX` up to the batch's size (N).
    pub rows: Vec<u32>,
    /// Where each token's positions start in `order`, and the end of the last (N + 1).
    pub starts: Vec<u32>,
    /// Positions sorted by token, stable (N).
    pub order: Vec<u32>,
}

impl TokenIndex {
    /// Sorts the positions of `ids`.
    pub fn new(ids: &[u32]) -> TokenIndex {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_by_key(|&i| ids[i as usize]);
        let mut rows = Vec::with_capacity(ids.len());
        let mut starts = Vec::with_capacity(ids.len() + 1);
        for (k, &position) in order.iter().enumerate() {
            let id = ids[position as usize];
            if rows.last() != Some(&id) {
                rows.push(id);
                starts.push(k as u32);
            }
        }
        rows.resize(ids.len(), NONE);
        starts.resize(ids.len() + 1, ids.len() as u32);
        TokenIndex {
            rows,
            starts,
            order,
        }
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
        tokens.write(ids, &TokenIndex::new(ids))?;
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
    layer: u32,
    threshold: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    segments: u32,
    width: u32,
    vocab: u32,
    accumulate: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

/// Rows of `table` (V, C) for tokens (T, B): (T, B, C). A token beyond the table gives zeros.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn embedding(tape: &Tape, table: &Tensor, tokens: &TokenIds) -> Result<Tensor> {
    let [vocab, width] = table.dims2(OP, "table")?;
    table.expect_dtype(OP, "table", DType::F32)?;
    let gpu = tape.gpu();
    let [steps, batch] = tokens.ids.dims2(OP, "tokens")?;
    let y = Tensor::empty(gpu, [steps, batch, width], DType::F32)?;
    let count = steps * batch;
    let kernel = gpu.kernel("embedding_fwd", &Variant::new())?;
    let params = ForwardParams {
        rows: count as u32,
        width: width as u32,
        vocab: vocab as u32,
        layer: 0,
        threshold: 0,
        scale: 1.0,
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
        let kernel = cx.gpu().kernel("embedding_bwd", &Variant::new())?;
        let params = BackwardParams {
            segments: count as u32,
            width: width as u32,
            vocab: vocab as u32,
            accumulate: 1,
            layer: 0,
            threshold: 0,
            scale: 1.0,
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

    #[test]
    fn the_index_sorts_positions_by_token_and_keeps_their_order() {
        let index = TokenIndex::new(&[5, 2, 5, 9, 2]);
        assert_eq!(index.order, [1, 4, 0, 2, 3]);
        assert_eq!(index.rows, [2, 5, 9, NONE, NONE]);
        assert_eq!(index.starts, [0, 2, 4, 5, 5, 5]);
    }
}
