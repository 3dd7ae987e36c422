//! Linear layer, softmax and cross entropy in one operator; the logits are never stored whole.
//!
//! This is the scheme of Liger-Kernel's fused linear cross entropy: the gradients are computed on the way forward and scaled by the
//! upstream gradient on the way back.

use super::elementwise::axpy;
use super::logits::{LinearLogits, whole};
use super::reduce::total;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "linear_cross_entropy";

/// Σᵢ weightᵢ · crossentropy(softmax(xᵢ·Wᵀ + b), targetᵢ), as (1).
///
/// x (N, D) and w (V, D) f32 or f16, w packed where it is frozen, b (V), targets (N) u32, weights (N). Logits and what is
/// computed from them are f32. A row of weight 0, or of target
/// `u32::MAX`, costs nothing and moves nothing. For a mean over the valid rows give each the
/// weight 1 / their number.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`]; [`crate::Error::TooLarge`] when a tensor exceeds the adapter.
pub fn linear_cross_entropy(
    tape: &Tape,
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    smoothed_linear_cross_entropy(tape, x, (w, b), targets, weights, 0.0)
}

/// [`linear_cross_entropy`] of a layer (w, b), against targets that are smoothed as those of
/// [`smoothed_cross_entropy`].
///
/// # Errors
/// Those of both.
pub fn smoothed_linear_cross_entropy(
    tape: &Tape,
    x: &Tensor,
    (w, b): (&Tensor, Option<&Tensor>),
    targets: &Tensor,
    weights: &Tensor,
    smoothing: f32,
) -> Result<Tensor> {
    check_smoothing(OP, smoothing)?;
    let gpu = tape.gpu();
    let layer = LinearLogits::new(OP, x, (w, b), targets)?;
    let rows = x.shape().rows();
    weights.expect(OP, "weights", &[rows], DType::F32)?;

    // Gradients for an upstream gradient of 1, of what is trained.
    let room = |input: Option<&Tensor>| {
        let wanted = input.filter(|t| tape.needs_grad(t));
        let room = wanted.map(|t| Tensor::empty(gpu, t.shape().clone(), DType::F32));
        room.transpose()
    };
    let grads = [room(Some(x))?, room(Some(w))?, room(b)?];
    let wanted = grads.iter().any(Option::is_some);
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let rooms = wanted.then(|| grads.each_ref().map(Option::as_ref));
    layer.losses(weights, &losses, smoothing, rooms)?;
    let loss = total(&losses)?;

    if wanted {
        let inputs: Vec<&Tensor> = [Some(x), Some(w), b].into_iter().flatten().collect();
        let kept = [Some(x.without_values()), Some(w.clone()), b.cloned()];
        tape.record_one(OP, &inputs, &loss, move |cx, upstream| {
            for (input, grad) in kept.iter().zip(&grads) {
                if let (Some(input), Some(grad)) = (input, grad)
                    && let Some(sink) = cx.sink(input)?
                {
                    axpy(&sink.grad, grad, 1.0, Some(upstream), sink.accumulate)?;
                }
            }
            Ok(())
        });
    }
    Ok(loss)
}

/// Σᵢ weightᵢ · crossentropy(softmax(logitsᵢ), targetᵢ), as (1), for few classes: logits (N, K),
/// f32 or f16, targets (N) u32, weights (N). Rows that do not count are those of
/// [`linear_cross_entropy`].
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn cross_entropy(
    tape: &Tape,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    smoothed_cross_entropy(tape, logits, targets, weights, 0.0)
}

/// [`cross_entropy`] against targets of which the share `smoothing` is spread evenly over all K
/// classes (Szegedy et al. 2016, section 7; `torch.nn.CrossEntropyLoss`'s `label_smoothing`).
///
/// # Errors
/// [`crate::Error::Argument`] unless 0 ≤ smoothing < 1, and those of [`cross_entropy`].
pub fn smoothed_cross_entropy(
    tape: &Tape,
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
    smoothing: f32,
) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    check_smoothing(OP, smoothing)?;
    let gpu = tape.gpu();
    let [rows, _] = logits.dims2(OP, "logits")?;
    logits.expect_float(OP, "logits")?;
    targets.expect(OP, "targets", &[rows], DType::U32)?;
    weights.expect(OP, "weights", &[rows], DType::F32)?;
    let losses = Tensor::empty(gpu, [rows], DType::F32)?;
    let tensors = [targets, weights, &losses];
    let dlogits = whole(logits, tensors, smoothing, tape.needs_grad(logits))?;
    let loss = total(&losses)?;
    tape.record_map(OP, logits, &loss, move |_, upstream, dx| {
        axpy(&dx.grad, &dlogits, 1.0, Some(upstream), dx.accumulate)
    });
    Ok(loss)
}

fn check_smoothing(op: &'static str, smoothing: f32) -> Result<()> {
    match (0.0..1.0).contains(&smoothing) {
        true => Ok(()),
        false => Err(Error::argument(
            op,
            "smoothing",
            smoothing,
            "0 <= smoothing < 1",
        )),
    }
}
