//! What all transformers read: rows of tokens on the device.

use crate::device::Gpu;
use crate::error::Result;
use crate::models::bert::BertInputs;
use crate::ops::{TokenIds, TokenIndex};
use crate::tensor::{DType, Tensor};
use crate::text::Rows;

/// A batch of sequences on the device.
pub struct Sequences {
    /// (B, T)
    pub ids: TokenIds,
    /// (B, T) 0 for the first text of a pair, 1 for the second.
    types: TokenIds,
    /// (B) u32
    pub lens: Tensor,
}

impl Sequences {
    /// Memory for such rows.
    pub fn new(gpu: &Gpu, rows: &Rows) -> Result<Sequences> {
        Ok(Sequences {
            ids: TokenIds::empty(gpu, rows.batch, rows.time)?,
            types: TokenIds::empty(gpu, rows.batch, rows.time)?,
            lens: Tensor::empty(gpu, [rows.batch], DType::U32)?,
        })
    }

    /// Uploads rows.
    pub fn write(&self, rows: &Rows) -> Result<()> {
        self.ids.write(&rows.ids, &rows.index)?;
        let types = TokenIndex::of_rows(&rows.token_types, &rows.lens);
        self.types.write(&rows.token_types, &types)?;
        self.lens.write(&rows.lens)
    }

    /// As BERT takes them.
    pub fn bert(&self) -> BertInputs<'_> {
        BertInputs {
            ids: &self.ids,
            token_types: Some(&self.types),
            lens: &self.lens,
        }
    }
}

/// Tokens of a batch, padding not counted.
pub fn tokens(rows: &Rows) -> u64 {
    rows.lens.iter().map(|&n| u64::from(n)).sum()
}

/// Where each row's last token stands in the flattened batch; `u32::MAX` for an empty row.
pub fn last_tokens(rows: &Rows) -> Vec<u32> {
    (0u32..)
        .zip(&rows.lens)
        .map(|(row, &len)| match len.checked_sub(1) {
            Some(last) => row * rows.time as u32 + last,
            None => u32::MAX,
        })
        .collect()
}
