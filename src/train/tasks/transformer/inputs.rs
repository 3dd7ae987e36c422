//! What all transformers read: rows of tokens on the device.

use crate::device::Gpu;
use crate::error::Result;
use crate::models::Tokens;
use crate::ops::{RowSelection, TokenIds, TokenIndex};
use crate::tensor::{DType, Tensor};
use crate::text::Rows;

/// A batch of sequences on the device.
pub struct Sequences {
    /// (B, T)
    ids: TokenIds,
    /// (B, T) 0 for the first text of a pair, 1 for the second.
    types: TokenIds,
    /// (B) u32
    lens: Tensor,
    /// Each row's last token, by which decoders classify.
    last: Option<RowSelection>,
}

impl Sequences {
    /// Memory for such rows.
    pub fn new(gpu: &Gpu, rows: &Rows) -> Result<Sequences> {
        Ok(Sequences {
            ids: TokenIds::empty(gpu, rows.batch, rows.time)?,
            types: TokenIds::empty(gpu, rows.batch, rows.time)?,
            lens: Tensor::empty(gpu, [rows.batch], DType::U32)?,
            last: None,
        })
    }

    /// The same, and the places of the rows' last tokens.
    pub fn with_last(gpu: &Gpu, rows: &Rows) -> Result<Sequences> {
        Ok(Sequences {
            last: Some(RowSelection::empty(
                gpu,
                rows.batch * rows.time,
                rows.batch,
            )?),
            ..Sequences::new(gpu, rows)?
        })
    }

    /// Uploads rows.
    pub fn write(&self, rows: &Rows) -> Result<()> {
        if let Some(last) = &self.last {
            last.write(&last_tokens(rows))?;
        }
        self.ids.write(&rows.ids, &rows.index)?;
        let types = TokenIndex::of_rows(&rows.token_types, &rows.lens);
        self.types.write(&rows.token_types, &types)?;
        self.lens.write(&rows.lens)
    }

    /// As models take them.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens {
            ids: &self.ids,
            types: Some(&self.types),
            lens: &self.lens,
            last: self.last.as_ref(),
        }
    }
}

/// Tokens of a batch, padding not counted.
pub fn tokens(rows: &Rows) -> u64 {
    rows.lens.iter().map(|&n| u64::from(n)).sum()
}

/// Where each row's last token stands in the flattened batch; `u32::MAX` for an empty row.
fn last_tokens(rows: &Rows) -> Vec<u32> {
    (0u32..)
        .zip(&rows.lens)
        .map(|(row, &len)| match len.checked_sub(1) {
            Some(last) => row * rows.time as u32 + last,
            None => u32::MAX,
        })
        .collect()
}
