//! What heads of different models share.

use super::ProblemType;
use super::inputs::{Answers, Tokens};
use super::network::Encoder;
use crate::error::Result;
use crate::nn::Wanted;
use crate::ops::{self, Binary, Unary};
use crate::tensor::{DType, Tape, Tensor};

/// The loss of logits (N, K), as (1).
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn classification_loss(tape: &Tape, logits: &Tensor, answers: &Answers<'_>) -> Result<Tensor> {
    let Answers {
        problem,
        targets,
        weights,
        smoothing,
    } = *answers;
    match problem {
        ProblemType::SingleLabelClassification if smoothing > 0.0 => {
            ops::smoothed_cross_entropy(tape, logits, targets, weights, smoothing)
        }
        ProblemType::SingleLabelClassification => {
            ops::cross_entropy(tape, logits, targets, weights)
        }
        ProblemType::MultiLabelClassification => {
            ops::binary_cross_entropy(tape, logits, targets, weights)
        }
        ProblemType::Regression => ops::squared_error(tape, logits, targets, weights),
    }
}

/// How the tokens of a sequence become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// The mean over the tokens that count.
    Mean,
}

/// One vector for a sequence, as sentence-transformers makes them: (B, C). `normalised` gives every
/// vector length 1.
///
/// # Errors
/// As [`Encoder::encode`].
pub fn embed(
    tape: &Tape,
    encoder: &dyn Encoder,
    inputs: &Tokens<'_>,
    pooling: Pooling,
    normalised: bool,
) -> Result<Tensor> {
    let pooled = match pooling {
        Pooling::Cls => encoder.encode(tape, inputs, &Wanted::First)?,
        Pooling::Mean => {
            let hidden = encoder.encode(tape, inputs, &Wanted::All)?;
            ops::mean_pool(tape, &hidden, inputs.lens)?
        }
    };
    if normalised {
        normalise(tape, &pooled)
    } else {
        Ok(pooled)
    }
}

/// x / ‖x‖₂ for every row of (N, C); a row of zeros stays zero.
fn normalise(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::empty(tape.gpu(), [1, x.shape().last()], DType::F32)?;
    ones.fill(1.0)?;
    let squares = ops::linear(tape, &ops::unary(tape, x, Unary::Square)?, &ones, None)?;
    // The least square that f32 holds to full precision.
    let (alpha, beta) = (1.0, f32::MIN_POSITIVE);
    let squares = ops::unary(tape, &squares, Unary::Affine { alpha, beta })?;
    let norms = ops::unary(tape, &squares, Unary::Sqrt)?;
    ops::binary(tape, Binary::Div, x, &norms)
}
