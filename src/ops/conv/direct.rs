//! Convolutions with groups, which are no one product of matrices, from operands as they lie.

use super::form::{Conv, Way};
use crate::device::{Groups, params};
use crate::error::Result;
use crate::kernels::Variant;
use crate::ops::kernel::run;
use crate::ops::reduce::sum_columns;
use crate::tensor::{DType, Tensor};

/// Rows whose gradients by the weights one invocation adds up, at least.
const ROWS_PER_SPLIT: usize = 64;
/// Partial sums of the weights' gradients are at most so many.
const MOST_SPLITS: usize = 256;

/// Queues what goes from `x` through `w` to `y`, or back.
pub(super) fn apply(
    conv: &Conv,
    way: Way,
    [x, w, y]: [&Tensor; 3],
    bias: Option<&Tensor>,
    accumulate: bool,
) -> Result<()> {
    let gpu = y.gpu();
    let [inner, outer] = conv.channels(way);
    let [group, line] = [
        conv.outputs / conv.groups * conv.taps * conv.inputs / conv.groups,
        conv.taps * conv.inputs / conv.groups,
    ];
    let (rows, [w_outer, w_inner]) = match way {
        Way::Forward => (conv.rows, [line, 1]),
        Way::Backward => (conv.pixels, [1, line]),
    };
    let channels = conv.groups * outer;
    // Of groups of few channels most of four would not exist.
    let cols = if outer < 4 { 1 } else { 4 };
    let params = params! {
        rows: u32,
        channels: u32,
        inner: u32,
        outer: u32,
        w_group: u32 = group,
        w_outer: u32,
        w_tap: u32 = conv.inputs / conv.groups,
        w_inner: u32,
        accumulate: u32,
        has_bias: u32 = bias.is_some(),
    };
    let variant = Variant::new()
        .with("F16", y.is_half())
        .with("W16", w.is_half())
        .with("COLS", cols as u32);
    let picture = conv.picture(way).tensor(gpu)?;
    // Without a bias some buffer must stand in; it is not read.
    let tensors = [&picture, x, w, bias.unwrap_or(w), y];
    let parts = conv.groups * outer.div_ceil(cols);
    let groups = Groups::cover(rows.div_ceil(4) * parts, 64);
    run(gpu, ("conv_direct", &variant), &params, tensors, groups)
}

/// Queues the gradient of the weights, from x and dy.
pub(super) fn weights(conv: &Conv, [x, dy, dw]: [&Tensor; 3], accumulate: bool) -> Result<()> {
    let gpu = dw.gpu();
    let [inner, outer] = conv.channels(Way::Forward);
    let splits = conv.rows.div_ceil(ROWS_PER_SPLIT).clamp(1, MOST_SPLITS);
    let per_split = conv.rows.div_ceil(splits);
    let splits = conv.rows.div_ceil(per_split);
    let partial = Tensor::empty(gpu, [splits, dw.len()], DType::F32)?;
    let params = params! {
        rows: u32 = conv.rows,
        channels: u32 = conv.outputs,
        inner: u32,
        outer: u32,
        per_split: u32,
    };
    let variant = Variant::new().with("F16", x.is_half());
    let picture = conv.picture(Way::Forward).tensor(gpu)?;
    let grid = Groups::Grid([dw.len().div_ceil(64) as u32, splits as u32, 1]);
    let kernel = ("conv_direct_weights", &variant);
    run(gpu, kernel, &params, [&picture, x, dy, &partial], grid)?;
    sum_columns(&partial, &dw.reshaped([dw.len()])?, accumulate)
}
