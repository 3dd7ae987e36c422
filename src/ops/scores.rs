//! How well logits predict, without a gradient.

use super::logits::{Chunk, softmax};
use super::reduce::total;
use crate::error::Result;
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "score_logits";

/// Σᵢ weightᵢ · crossentropy(softmax(logitsᵢ), targetᵢ), as (1), and the number of the largest logit
/// of each row, (N) u32: logits (N, V), targets (N) u32, weights (N). A row of weight 0 or target
/// `u32::MAX` costs nothing and its largest logit counts as `u32::MAX`. Not differentiable.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn score_logits(
    tape: &Tape,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let gpu = tape.gpu();
    let [rows, vocab] = logits.dims2(OP, "logits")?;
    logits.expect_dtype(OP, "logits", DType::F32)?;
    targets.expect(OP, "targets", &[rows], DType::U32)?;
    weights.expect(OP, "weights", &[rows], DType::F32)?;
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let best = Tensor::empty(gpu, [rows], DType::U32)?;
    let all = Chunk {
        first: 0,
        vocab,
        smoothing: 0.0,
        gradient: false,
    };
    let tensors = [targets, weights, logits, &losses];
    softmax(gpu, tensors, Some(&best), &all)?;
    Ok((total(&losses)?, best))
}
