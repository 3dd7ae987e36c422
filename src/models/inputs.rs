//! What models read, and what they learn from: tensors on the device.

use crate::ops::{RowSelection, TokenIds};
use crate::tensor::Tensor;

/// A batch of B sequences of T tokens, padded on the right.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// (B, T)
    pub ids: &'a TokenIds,
    /// (B, T) segment of each token; `None`: all of segment 0. Models without segments leave it
    /// alone.
    pub types: Option<&'a TokenIds>,
    /// (B) u32, tokens that count of each row.
    pub lens: &'a Tensor,
    /// Each row's last token in the flattened batch, row b's at b·T + its length − 1; models that
    /// classify by their first token leave it alone.
    pub last: Option<&'a RowSelection>,
}

impl<'a> Tokens<'a> {
    /// Sequences of one segment.
    pub fn new(ids: &'a TokenIds, lens: &'a Tensor) -> Tokens<'a> {
        Tokens {
            ids,
            types: None,
            lens,
            last: None,
        }
    }
}

/// The masked positions of a batch of N = B·T tokens, and what stood there.
#[derive(Clone, Copy)]
pub struct MaskedTokens<'a> {
    /// M positions in the flattened batch.
    pub rows: &'a RowSelection,
    /// (M) u32; `u32::MAX` does not count.
    pub targets: &'a Tensor,
    /// (M), of each prediction: 1 / their number for a mean.
    pub weights: &'a Tensor,
}

/// Whether the second segment follows the first (0) or comes from elsewhere (1).
#[derive(Clone, Copy)]
pub struct NextSentence<'a> {
    /// (B) u32
    pub targets: &'a Tensor,
    /// (B)
    pub weights: &'a Tensor,
}
