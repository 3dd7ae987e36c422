//! Layer normalisation, with the residual that precedes it and the dropout before that.

use super::dropout::{Draw, Mask};
use super::elementwise::axpy;
use super::kernel::{lanes, run, stored};
use super::reduce::sum_columns;
use crate::device::{Caps, Groups, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{Backward, DType, Sink, Tape, Tensor};

const OP: &str = "layer_norm";

/// Invocations of one workgroup of the row kernels.
pub(super) const GROUP: usize = 64;

/// Rows whose gradients by the weights one invocation adds up: few enough that a batch of 2,048
/// rows fills a GPU, so many that the partial sums are small beside what is read.
pub(super) const ROWS_PER_SPLIT: usize = 32;

/// What [`layer_norm`] gives.
pub struct Normed {
    /// The normalised rows, of the shape of `x`.
    pub y: Tensor,
    /// What was normalised: x + residual, for a pre-norm model's next residual; `x` itself without
    /// one.
    pub sum: Tensor,
}

/// What is added to x before it is normalised.
struct Added<'a> {
    residual: &'a Tensor,
    /// Dropout of x.
    draw: Option<Draw>,
}

/// What the backward reads; of x, residual and y only which tensors they are.
struct Saved {
    x: Tensor,
    draw: Option<Draw>,
    residual: Option<Tensor>,
    gamma: Tensor,
    beta: Tensor,
    sum: Tensor,
    stats: Tensor,
    y: Tensor,
}

/// LayerNorm(x + residual) · γ + β over the last axis. (Ba et al. 2016; as `torch.nn.LayerNorm`.)
///
/// x and residual (…, C), both f32 or both f16; gamma and beta (C) f32. Gradients flow to all four; the one that
/// reaches `sum` through its other uses is added to those of x and residual.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::Argument`] unless `eps` is finite and positive.
pub fn layer_norm(
    tape: &Tape,
    x: &Tensor,
    residual: Option<&Tensor>,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f32,
) -> Result<Normed> {
    let added = residual.map(|residual| Added {
        residual,
        draw: None,
    });
    normalise(tape, x, added, [gamma, beta], eps)
}

/// LayerNorm(drop(x) + residual) · γ + β over the last axis: [`dropout`](super::dropout()) with probability `p`
/// and [`layer_norm`] in one pass, which in f16 does not round what lies between them.
///
/// # Errors
/// As [`layer_norm`]; [`Error::Argument`] unless 0 ≤ p < 1.
pub fn dropout_layer_norm(
    tape: &Tape,
    x: &Tensor,
    p: f32,
    residual: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f32,
) -> Result<Normed> {
    let draw = Draw::new(tape, OP, p)?;
    let added = Added { residual, draw };
    normalise(tape, x, Some(added), [gamma, beta], eps)
}

/// Rows and columns of x, once all that a norm reads is of their size.
pub(super) fn checked(
    op: &'static str,
    x: &Tensor,
    residual: Option<&Tensor>,
    gamma: &Tensor,
    eps: f32,
) -> Result<[usize; 2]> {
    x.expect_float(op, "x")?;
    let cols = x.shape().last();
    if let Some(residual) = residual {
        residual.expect(op, "residual", x.dims(), x.dtype())?;
    }
    gamma.expect(op, "gamma", &[cols], DType::F32)?;
    if eps > 0.0 && eps.is_finite() {
        return Ok([x.shape().rows(), cols]);
    }
    let expected = "a finite number above 0, such as 1e-5";
    Err(Error::argument(op, "eps", eps, expected))
}

fn normalise(
    tape: &Tape,
    x: &Tensor,
    added: Option<Added>,
    [gamma, beta]: [&Tensor; 2],
    eps: f32,
) -> Result<Normed> {
    let (residual, draw) = added.map_or((None, None), |a| (Some(a.residual), a.draw));
    let [rows, cols] = checked(OP, x, residual, gamma, eps)?;
    beta.expect(OP, "beta", &[cols], DType::F32)?;
    let gpu = tape.gpu();
    let like_x = || Tensor::empty(gpu, x.shape().clone(), x.dtype());
    let y = like_x()?;
    let sum = residual.map_or_else(|| Ok(x.clone()), |_| like_x())?;
    let stats = Tensor::empty(gpu, [rows, 2], DType::F32)?;
    let variant = row_variant(gpu.caps(), x)
        .with("RESIDUAL", residual.is_some())
        .with("DROPOUT", draw.is_some());
    let params = params! {
        rows: u32,
        cols: u32,
        eps: f32,
        mask: Mask = draw.as_ref().map_or_else(Mask::default, |d| d.mask),
    };
    let written = residual.map(|_| &sum);
    let tensors = [Some(x), Some(gamma), Some(beta), residual, written]
        .into_iter()
        .chain([Some(&y), Some(&stats), draw.as_ref().map(|d| &d.state)])
        .flatten();
    let groups = Groups::cover(rows * row_lanes(gpu.caps(), rows), GROUP);
    run(gpu, ("layer_norm_fwd", &variant), &params, tensors, groups)?;

    let mut inputs = vec![x];
    inputs.extend(residual);
    inputs.extend([gamma, beta]);
    let mut outputs = vec![&y];
    outputs.extend(written);
    let saved = Saved {
        x: x.without_values(),
        draw,
        residual: residual.map(Tensor::without_values),
        gamma: gamma.clone(),
        beta: beta.clone(),
        sum: sum.clone(),
        stats,
        y: y.without_values(),
    };
    tape.record(OP, &inputs, &outputs, move |cx| backward(cx, &saved));
    Ok(Normed { y, sum })
}

/// Invocations that share a row. CPU drivers run 8 abreast and pay for barriers, so that 8 rows
/// should share one; few rows should still keep a GPU busy.
pub(super) fn row_lanes(caps: &Caps, rows: usize) -> usize {
    match (caps.is_cpu, rows) {
        (true, _) => 8,
        (false, ..64) => 64,
        (false, _) => 32,
    }
}

pub(super) fn row_variant(caps: &Caps, x: &Tensor) -> Variant {
    let (rows, cols) = (x.shape().rows(), x.shape().last());
    stored(x, lanes(cols)).with("LANES", row_lanes(caps, rows) as u32)
}

fn backward(cx: &mut Backward, saved: &Saved) -> Result<()> {
    // Without a residual the sum is x, whose gradient others add to by themselves.
    let dsum = match &saved.residual {
        Some(_) => cx.upstream(&saved.sum)?,
        None => None,
    };
    let Some(dy) = cx.upstream(&saved.y)? else {
        let Some(dsum) = dsum else {
            return Ok(());
        };
        let inputs = [
            (Some(&saved.x), saved.draw.as_ref()),
            (saved.residual.as_ref(), None),
        ];
        for (input, draw) in inputs {
            match (input.map(|i| cx.sink(i)).transpose()?.flatten(), draw) {
                (Some(sink), Some(draw)) => draw.backward(&dsum, &sink.grad, sink.accumulate)?,
                (Some(sink), None) => axpy(&sink.grad, &dsum, 1.0, None, sink.accumulate)?,
                (None, _) => {}
            }
        }
        return Ok(());
    };
    weights_backward(cx, saved, &dy)?;
    match &saved.residual {
        // Twice the same tensor: its gradient arrives twice.
        Some(residual) if residual.id() == saved.x.id() => {
            for (input, draw) in [(&saved.x, saved.draw.as_ref()), (residual, None)] {
                if let Some(sink) = cx.sink(input)? {
                    rows_backward(saved, &dy, dsum.as_ref(), draw, &[sink])?;
                }
            }
            Ok(())
        }
        residual => {
            let mut sinks = Vec::from_iter(cx.sink(&saved.x)?);
            // The mask is x's: it falls on the first sink.
            let draw = saved.draw.as_ref().filter(|_| !sinks.is_empty());
            if let Some(residual) = residual {
                sinks.extend(cx.sink(residual)?);
            }
            rows_backward(saved, &dy, dsum.as_ref(), draw, &sinks)
        }
    }
}

/// Queues the gradient of the rows into one or two `sinks`, or nothing; into the first one what
/// `draw` keeps of it.
fn rows_backward(
    saved: &Saved,
    dy: &Tensor,
    dsum: Option<&Tensor>,
    draw: Option<&Draw>,
    sinks: &[Sink],
) -> Result<()> {
    let Some(first) = sinks.first() else {
        return Ok(());
    };
    let second = sinks.get(1);
    let gpu = dy.gpu();
    let (rows, cols) = (dy.shape().rows(), dy.shape().last());
    let variant = row_variant(gpu.caps(), dy)
        .with("RESIDUAL", second.is_some())
        .with("SUM_USED", dsum.is_some())
        .with("DROPOUT", draw.is_some());
    let params = params! {
        rows: u32,
        cols: u32,
        accumulate: u32 = first.flag(),
        accumulate_residual: u32 = second.map_or(0, Sink::flag),
        mask: Mask = draw.map_or_else(Mask::default, |d| d.mask),
    };
    let read = [dy, &saved.sum, &saved.stats, &saved.gamma];
    let written = [Some(&first.grad), second.map(|s| &s.grad)];
    let others = [dsum].into_iter().chain(written);
    let others = others.chain([draw.map(|d| &d.state)]);
    let tensors = read.into_iter().chain(others.flatten());
    let groups = Groups::cover(rows * row_lanes(gpu.caps(), rows), GROUP);
    run(gpu, ("layer_norm_bwd", &variant), &params, tensors, groups)
}

/// Queues the gradients of gamma and beta, where wanted.
fn weights_backward(cx: &mut Backward, saved: &Saved, dy: &Tensor) -> Result<()> {
    if !cx.wants(&saved.gamma) && !cx.wants(&saved.beta) {
        return Ok(());
    }
    let gpu = dy.gpu();
    let (rows, cols) = (dy.shape().rows(), dy.shape().last());
    let lanes = lanes(cols);
    let kernel = ("layer_norm_bwd_weights", &stored(dy, lanes));
    let width = cols / lanes;
    // At most 65,535 splits fit a grid.
    let per_split = ROWS_PER_SPLIT.max(rows.div_ceil(65_535));
    let splits = rows.div_ceil(per_split);
    let params = params! { rows: u32, cols: u32 = width, per_split: u32 };
    let partial = || Tensor::empty(gpu, [splits, cols], DType::F32);
    let (dgamma, dbeta) = (partial()?, partial()?);
    let tensors = [dy, &saved.sum, &saved.stats, &dgamma, &dbeta];
    let grid = Groups::Grid([width.div_ceil(64) as u32, splits as u32, 1]);
    run(gpu, kernel, &params, tensors, grid)?;
    for (weight, partial) in [(&saved.gamma, &dgamma), (&saved.beta, &dbeta)] {
        if let Some(sink) = cx.sink(weight)? {
            sum_columns(partial, &sink.grad, sink.accumulate)?;
        }
    }
    Ok(())
}
