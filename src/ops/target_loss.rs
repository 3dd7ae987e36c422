//! Losses of numbers against targets of the same shape: several labels at once, regression.

use super::elementwise::cast;
use super::kernel::run;
use super::reduce::total;
use crate::device::{Groups, params};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

/// Σₙ weightₙ Σₖ binarycrossentropy(σ(logitsₙₖ), targetsₙₖ), as (1).
///
/// logits (N, K) f32 or f16, targets (N, K) f32 in [0, 1]; weights (N) f32. A row of weight 0 costs
/// nothing and moves nothing. For `torch.nn.BCEWithLogitsLoss`, a mean over all N·K, give each row
/// the weight 1 / (N·K). Only the logits get a gradient.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn binary_cross_entropy(
    tape: &Tape,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    let (op, z) = (("binary_cross_entropy", 0), ("logits", logits));
    target_loss(tape, op, z, targets, weights)
}

/// Σₙ weightₙ Σₖ (valuesₙₖ − targetsₙₖ)², as (1).
///
/// values (N, K) f32 or f16, targets (N, K) f32; weights (N) f32. A row of weight 0 costs nothing and moves
/// nothing. For `torch.nn.MSELoss`, a mean over all N·K, give each row the weight 1 / (N·K). Only
/// the values get a gradient.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn squared_error(
    tape: &Tape,
    values: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    let (op, z) = (("squared_error", 1), ("values", values));
    target_loss(tape, op, z, targets, weights)
}

/// `code` is the kernels' `OP`.
fn target_loss(
    tape: &Tape,
    (op, code): (&'static str, u32),
    (arg, z): (&'static str, &Tensor),
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    let [rows, cols] = z.dims2(op, arg)?;
    z.expect_float(op, arg)?;
    let z = &cast(tape, z, DType::F32)?;
    targets.expect(op, "targets", &[rows, cols], DType::F32)?;
    weights.expect(op, "weights", &[rows], DType::F32)?;
    let gpu = tape.gpu();
    let variant = Variant::new().with("OP", code);
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let params = params! { rows: u32, cols: u32 };
    let kernel = ("target_loss_fwd", &variant);
    let groups = Groups::Linear(rows as u64);
    run(gpu, kernel, &params, [z, targets, weights, &losses], groups)?;
    let loss = total(&losses)?;
    let (saved, targets, weights) = (z.clone(), targets.clone(), weights.clone());
    tape.record_map(op, z, &loss, move |gpu, dloss, dz| {
        let params = params! { rows: u32, cols: u32, accumulate: u32 = dz.flag() };
        let groups = Groups::cover(rows * cols, 256);
        let tensors = [&saved, &targets, &weights, dloss, &dz.grad];
        run(gpu, ("target_loss_bwd", &variant), &params, tensors, groups)
    });
    Ok(loss)
}
