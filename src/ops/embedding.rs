//! Rows of a table by token, and the deterministic scatter-add that is its gradient.

use super::blocks::{Rows, expand};
use super::kernel::{lanes, run, stored};
use crate::device::{Gpu, Groups, params};
use crate::error::Result;
use crate::kernels::token_index::TokenIndex;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "embedding";
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

/// Rows of `table` (V, C), f32, f16 or, frozen, packed, for tokens (T, B): (T, B, C) in the element type of the
/// tape's activations. A token beyond the table gives zeros.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn embedding(tape: &Tape, table: &Tensor, tokens: &TokenIds) -> Result<Tensor> {
    let [vocab, width] = table.dims2(OP, "table")?;
    table.expect_weight(OP, "table")?;
    let gpu = tape.gpu();
    let [steps, batch] = tokens.ids.dims2(OP, "tokens")?;
    let y = Tensor::empty(gpu, [steps, batch, width], tape.activations())?;
    let count = steps * batch;
    if table.is_packed() {
        let rows = y.reshaped([count, width])?;
        expand(table, Rows::Named(&tokens.ids), &rows)?;
        return Ok(y);
    }
    let lanes = lanes(width);
    let variant = stored(&y, lanes);
    let forward = variant.clone().with("TABLE16", table.is_half());
    let params = params! { rows: u32 = count, width: u32 = width / lanes, vocab: u32 };
    let groups = Groups::Linear(count as u64);
    let tensors = [&tokens.ids, table, &y];
    run(gpu, ("embedding_fwd", &forward), &params, tensors, groups)?;

    let tokens = tokens.clone();
    tape.record_map(OP, table, &y, move |gpu, dy, dtable| {
        if !dtable.accumulate {
            dtable.grad.clear(); // The kernel writes only the rows that the batch names.
        }
        let params = params! {
            segments: u32 = count,
            width: u32 = width / lanes,
            vocab: u32,
            accumulate: u32 = 1,
        };
        let TokenIds {
            rows,
            starts,
            order,
            ..
        } = &tokens;
        let tensors = [rows, starts, order, dy, &dtable.grad];
        run(gpu, ("embedding_bwd", &variant), &params, tensors, groups)
    });
    Ok(y)
}
