//! Sums.

use super::elementwise::axpy;
use super::kernel::{lanes, run, stored};
use super::layout::{CopyParams, copy_strided};
use crate::device::{Groups, params};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Sink, Tape, Tensor};

/// Elements that one workgroup of [`sum_all`] and of the gradient norm adds up.
pub(crate) const SUM_CHUNK: usize = 16 * 1024;

fn sum_pass(x: &Tensor, y: &Tensor, chunk: usize) -> Result<()> {
    let params = params! { n: u32 = x.len(), chunk: u32, accumulate: u32 = 0, scale: f32 = 1.0 };
    let (kernel, groups) = (("sum_all", &Variant::new()), Groups::cover(x.len(), chunk));
    run(x.gpu(), kernel, &params, [x, y], groups)
}

/// Queues Σ x in a fixed order, as (1).
pub(super) fn total(x: &Tensor) -> Result<Tensor> {
    let y = Tensor::empty(x.gpu(), [1], DType::F32)?;
    if x.len() <= SUM_CHUNK {
        sum_pass(x, &y, x.len())?;
    } else {
        let partial = Tensor::empty(x.gpu(), [x.len().div_ceil(SUM_CHUNK)], DType::F32)?;
        sum_pass(x, &partial, SUM_CHUNK)?;
        sum_pass(&partial, &y, partial.len())?;
    }
    Ok(y)
}

/// Σ x over all elements, as (1).
///
/// # Errors
/// [`crate::Error::DType`] when `x` does not hold f32.
pub fn sum_all(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    x.expect_dtype("sum_all", "x", DType::F32)?;
    let y = total(x)?;
    tape.record_map("sum_all", x, &y, |gpu, dy, dx| {
        // Every element receives the same number: a copy with stride 0.
        let n = dx.grad.len() as u32;
        let params = CopyParams {
            shape: [1, 1, 1, n],
            stride_x: [0; 4],
            stride_y: [0, 0, 0, 1],
            n,
            offset_x: 0,
            offset_y: 0,
            accumulate: dx.flag(),
        };
        copy_strided(gpu, dy, &dx.grad, &params)
    });
    Ok(y)
}

/// Rows that one workgroup of [`sum_columns`] adds up in its first pass.
const ROWS_PER_SPLIT: usize = 256;

/// Queues y[c] (=|+=) Σ_r x[r, c] of x (R, C), f32 or f16, in a fixed order; y (C), or the first
/// of x's columns.
pub(crate) fn sum_columns(x: &Tensor, y: &Tensor, accumulate: bool) -> Result<()> {
    let (rows, line, cols) = (x.shape().rows(), x.shape().last(), y.len());
    let lanes = lanes(cols).min(lanes(line));
    let width = cols / lanes;
    let pass = |x: &Tensor, y: &Tensor, rows: usize, per_split: usize, accumulate: bool| {
        let params = params! {
            rows: u32,
            cols: u32 = width,
            per_split: u32,
            accumulate: u32,
            line: u32 = x.shape().last() / lanes,
        };
        let grid = [
            width.div_ceil(64) as u32,
            rows.div_ceil(per_split) as u32,
            1,
        ];
        let kernel = ("sum_cols", &stored(x, lanes));
        run(x.gpu(), kernel, &params, [x, y], Groups::Grid(grid))
    };
    if rows <= ROWS_PER_SPLIT {
        return pass(x, y, rows, rows, accumulate);
    }
    let splits = rows.div_ceil(ROWS_PER_SPLIT);
    let partial = Tensor::empty(x.gpu(), [splits, cols], DType::F32)?;
    pass(x, &partial, rows, ROWS_PER_SPLIT, false)?;
    pass(&partial, y, splits, splits, accumulate)
}

/// Queues the column sums into each of `sinks`, computing them once.
pub(crate) fn sum_columns_into_all(x: &Tensor, sinks: &[Sink]) -> Result<()> {
    match sinks {
        [] => Ok(()),
        [one] => sum_columns(x, &one.grad, one.accumulate),
        many => {
            let sums = Tensor::empty(x.gpu(), [x.shape().last()], DType::F32)?;
            sum_columns(x, &sums, false)?;
            many.iter()
                .try_for_each(|s| axpy(&s.grad, &sums, 1.0, None, s.accumulate))
        }
    }
}
