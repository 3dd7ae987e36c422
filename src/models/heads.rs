//! What heads of different models share.

use super::ProblemType;
use crate::error::Result;
use crate::ops::{self, Binary, Unary};
use crate::tensor::{DType, Tape, Tensor};

/// The loss of logits (B, K), as (1): targets (B) u32, or (B, K) f32 for several labels and for
/// numbers; weights (B).
pub(super) fn classification_loss(
    tape: &Tape,
    problem: ProblemType,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    match problem {
        ProblemType::SingleLabelClassification => {
            ops::cross_entropy(tape, logits, targets, weights)
        }
        ProblemType::MultiLabelClassification => {
            ops::binary_cross_entropy(tape, logits, targets, weights)
        }
        ProblemType::Regression => ops::squared_error(tape, logits, targets, weights),
    }
}

/// x / ‖x‖₂ for every row of (N, C); a row of zeros stays zero.
pub(super) fn normalise(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::empty(tape.gpu(), [1, x.shape().last()], DType::F32)?;
    ones.fill(1.0)?;
    let squares = ops::linear(tape, &ops::unary(tape, x, Unary::Square)?, &ones, None)?;
    // The least square that f32 holds to full precision.
    let (alpha, beta) = (1.0, f32::MIN_POSITIVE);
    let squares = ops::unary(tape, &squares, Unary::Affine { alpha, beta })?;
    let norms = ops::unary(tape, &squares, Unary::Sqrt)?;
    ops::binary(tape, Binary::Div, x, &norms)
}
