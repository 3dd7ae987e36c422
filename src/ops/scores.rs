//! How well logits predict, without a gradient.

use crate::device::Groups;
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

use super::cross_entropy::SoftmaxParams;
use super::lanes::lanes;
use super::reduce::sum_all_into;

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
    let variant = Variant::new()
        .with("ARGMAX", true)
        .with("VEC4", lanes(vocab) == 4);
    let kernel = gpu.kernel("softmax_xent", &variant)?;
    let params = SoftmaxParams {
        rows: rows as u32,
        vocab: vocab as u32,
        first: 0,
        smoothing: 0.0,
        line: vocab as u32,
    };
    let bindings = [
        targets.binding(),
        weights.binding(),
        logits.binding(),
        losses.binding(),
        best.binding(),
    ];
    gpu.dispatch(&kernel, &params, &bindings, Groups::Linear(rows as u64))?;
    let loss = Tensor::empty(gpu, [1], DType::F32)?;
    sum_all_into(&losses, &loss)?;
    Ok((loss, best))
}
