//! Root-mean-square normalisation, with the residual that precedes it.

use super::elementwise::axpy;
use super::kernel::{lanes, run, stored};
use super::norm::{GROUP, Normed, ROWS_PER_SPLIT, checked, row_lanes, row_variant};
use super::reduce::sum_columns;
use crate::device::{Groups, params};
use crate::error::Result;
use crate::tensor::{Backward, DType, Sink, Tape, Tensor};

const OP: &str = "rms_norm";

/// What the backward reads; of x, residual and y only which tensors they are.
struct Saved {
    x: Tensor,
    residual: Option<Tensor>,
    gamma: Tensor,
    offset: f32,
    sum: Tensor,
    stats: Tensor,
    y: Tensor,
}

/// (x + residual) / √(mean of its squares + eps) · (offset + γ) over the last axis. (Zhang and
/// Sennrich 2019, eq. 4; `offset` is 0 in Llama and 1 in Gemma.)
///
/// x and residual (…, C), both f32 or both f16; gamma (C) f32. Gradients flow to all three; the one
/// that reaches `sum` through its other uses is added to those of x and residual.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`]; [`crate::Error::Argument`] unless `eps` is finite and positive.
pub fn rms_norm(
    tape: &Tape,
    x: &Tensor,
    residual: Option<&Tensor>,
    gamma: &Tensor,
    offset: f32,
    eps: f32,
) -> Result<Normed> {
    let [rows, cols] = checked(OP, x, residual, gamma, eps)?;
    let gpu = tape.gpu();
    let like_x = || Tensor::empty(gpu, x.shape().clone(), x.dtype());
    let y = like_x()?;
    let sum = residual.map_or_else(|| Ok(x.clone()), |_| like_x())?;
    let stats = Tensor::empty(gpu, [rows], DType::F32)?;
    let variant = row_variant(gpu.caps(), x).with("RESIDUAL", residual.is_some());
    let params = params! { rows: u32, cols: u32, eps: f32, offset: f32 };
    let written = residual.map(|_| &sum);
    let read = [Some(x), Some(gamma), residual];
    let tensors = read.into_iter().chain([written, Some(&y), Some(&stats)]);
    let groups = Groups::cover(rows * row_lanes(gpu.caps(), rows), GROUP);
    let kernel = ("rms_norm_fwd", &variant);
    run(gpu, kernel, &params, tensors.flatten(), groups)?;

    let mut inputs = vec![x];
    inputs.extend(residual);
    inputs.push(gamma);
    let mut outputs = vec![&y];
    outputs.extend(written);
    let saved = Saved {
        x: x.without_values(),
        residual: residual.map(Tensor::without_values),
        gamma: gamma.clone(),
        offset,
        sum: sum.clone(),
        stats,
        y: y.without_values(),
    };
    tape.record(OP, &inputs, &outputs, move |cx| backward(cx, &saved));
    Ok(Normed { y, sum })
}

fn backward(cx: &mut Backward, saved: &Saved) -> Result<()> {
    // Without a residual the sum is x, whose gradient others add to by themselves.
    let dsum = match &saved.residual {
        Some(_) => cx.upstream(&saved.sum)?,
        None => None,
    };
    let dy = cx.upstream(&saved.y)?;
    if let Some(dy) = &dy {
        weights_backward(cx, saved, dy)?;
    }
    let mut sinks = Vec::from_iter(cx.sink(&saved.x)?);
    let twice = |r: &Tensor| r.id() == saved.x.id();
    // Of a tensor that is both, the sink comes once its first gradient is there.
    let apart = saved.residual.as_ref().filter(|r| !twice(r));
    if let Some(residual) = apart {
        sinks.extend(cx.sink(residual)?);
    }
    into(saved, dy.as_ref(), dsum.as_ref(), &sinks)?;
    match saved.residual.as_ref().filter(|r| twice(r)) {
        Some(residual) => {
            let again = Vec::from_iter(cx.sink(residual)?);
            into(saved, dy.as_ref(), dsum.as_ref(), &again)
        }
        None => Ok(()),
    }
}

/// Queues the gradient of the rows into one or two `sinks`, or nothing.
fn into(saved: &Saved, dy: Option<&Tensor>, dsum: Option<&Tensor>, sinks: &[Sink]) -> Result<()> {
    let Some(first) = sinks.first() else {
        return Ok(());
    };
    let Some(dy) = dy else {
        let Some(dsum) = dsum else {
            return Ok(());
        };
        let mut each = sinks.iter();
        return each.try_for_each(|s| axpy(&s.grad, dsum, 1.0, None, s.accumulate));
    };
    let second = sinks.get(1);
    let gpu = dy.gpu();
    let (rows, cols) = (dy.shape().rows(), dy.shape().last());
    let variant = row_variant(gpu.caps(), dy)
        .with("RESIDUAL", second.is_some())
        .with("SUM_USED", dsum.is_some());
    let params = params! {
        rows: u32,
        cols: u32,
        accumulate: u32 = first.flag(),
        accumulate_residual: u32 = second.map_or(0, Sink::flag),
        offset: f32 = saved.offset,
    };
    let read = [dy, &saved.sum, &saved.stats, &saved.gamma];
    let others = [dsum, Some(&first.grad), second.map(|s| &s.grad)];
    let tensors = read.into_iter().chain(others.into_iter().flatten());
    let groups = Groups::cover(rows * row_lanes(gpu.caps(), rows), GROUP);
    run(gpu, ("rms_norm_bwd", &variant), &params, tensors, groups)
}

/// Queues the gradient of gamma, where wanted.
fn weights_backward(cx: &mut Backward, saved: &Saved, dy: &Tensor) -> Result<()> {
    let Some(sink) = cx.sink(&saved.gamma)? else {
        return Ok(());
    };
    let gpu = dy.gpu();
    let (rows, cols) = (dy.shape().rows(), dy.shape().last());
    let lanes = lanes(cols);
    let width = cols / lanes;
    // At most 65,535 splits fit a grid.
    let per_split = ROWS_PER_SPLIT.max(rows.div_ceil(65_535));
    let splits = rows.div_ceil(per_split);
    let params = params! { rows: u32, cols: u32 = width, per_split: u32 };
    let dgamma = Tensor::empty(gpu, [splits, cols], DType::F32)?;
    let tensors = [dy, &saved.sum, &saved.stats, &dgamma];
    let grid = Groups::Grid([width.div_ceil(64) as u32, splits as u32, 1]);
    let kernel = ("rms_norm_bwd_weights", &stored(dy, lanes));
    run(gpu, kernel, &params, tensors, grid)?;
    sum_columns(&dgamma, &sink.grad, sink.accumulate)
}
