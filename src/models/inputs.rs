//! What models read, and what they learn from: tensors on the device.

use super::ProblemType;
use crate::nn::Segments;
use crate::ops::{RowSelection, TokenIds};
use crate::tensor::Tensor;

/// A batch of B sequences of T tokens, padded on the right. Transformers read rows, (B, T); an LSTM reads
/// step by step, (T, B).
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// (B, T), or (T, B)
    pub ids: &'a TokenIds,
    /// (B, T) segment of each token; `None`: all of segment 0. Models without segments leave it
    /// alone.
    pub types: Option<&'a TokenIds>,
    /// (B) u32, tokens that count of each row.
    pub lens: &'a Tensor,
    /// Each row's last token in the flattened batch, row b's at b·T + its length − 1; models that
    /// classify by their first token leave it alone.
    pub last: Option<&'a RowSelection>,
    /// Several sequences in each row, for decoders; `None`: one.
    pub segments: Option<&'a Segments>,
    /// α of the noise on decoders' embeddings while training, evenly from −α / √(T·C) to that; 0: none.
    pub noise: f32,
}

impl<'a> Tokens<'a> {
    /// Sequences of one segment.
    pub fn new(ids: &'a TokenIds, lens: &'a Tensor) -> Tokens<'a> {
        Tokens {
            ids,
            types: None,
            lens,
            last: None,
            segments: None,
            noise: 0.0,
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

/// What a classifier should say of N texts or tokens.
#[derive(Clone, Copy)]
pub struct Answers<'a> {
    /// What an answer is.
    pub problem: ProblemType,
    /// (N) u32 classes, where `u32::MAX` does not count; (N, K) f32 for several labels and for numbers.
    pub targets: &'a Tensor,
    /// (N)
    pub weights: &'a Tensor,
    /// Share of a class's probability that is spread evenly over all (Szegedy et al. 2016, section 7).
    pub smoothing: f32,
}

impl<'a> Answers<'a> {
    /// One class of several each.
    pub fn classes(targets: &'a Tensor, weights: &'a Tensor) -> Answers<'a> {
        Answers {
            problem: ProblemType::SingleLabelClassification,
            targets,
            weights,
            smoothing: 0.0,
        }
    }

    /// Whether it is one class of several, and no probability is spread.
    pub(super) fn is_plain(&self) -> bool {
        self.problem == ProblemType::SingleLabelClassification && self.smoothing == 0.0
    }
}
