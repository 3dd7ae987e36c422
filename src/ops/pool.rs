//! Pools of pictures: the largest or the mean of each window.

use super::kernel::{lanes, run, stored};
use super::window::{Picture, Window, pictures};
use crate::device::{Gpu, Groups, params};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tape, Tensor};

/// Pictures, their windows' positions, and a result for them.
fn pooled(op: &'static str, tape: &Tape, x: &Tensor, window: &Window) -> Result<(Picture, Tensor)> {
    let [n, height, width, channels] = pictures(op, x)?;
    let positions = window.positions(op, [height, width])?;
    // So that every window holds a pixel, as PyTorch asks.
    if (0..2).any(|axis| 2 * window.padding[axis] > window.kernel[axis]) {
        let found = format!("{} by {}", window.padding[0], window.padding[1]);
        return Err(Error::argument(
            op,
            "padding",
            found,
            "at most half the window",
        ));
    }
    let dims = [n, positions[0], positions[1], channels];
    let y = Tensor::empty(tape.gpu(), dims, x.dtype())?;
    let picture = Picture::forward(window, [height, width], positions, channels);
    Ok((picture, y))
}

/// The largest of each window: x (N, H, W, C) to (N, P, Q, C), f32 or f16. The gradient goes to the first that
/// is as large. (`torch.nn.functional.max_pool2d`.)
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::Argument`] for a window without sides or padding of more
/// than half of it.
pub fn max_pool2d(tape: &Tape, x: &Tensor, window: &Window) -> Result<Tensor> {
    const OP: &str = "max_pool2d";
    let gpu = tape.gpu();
    let (picture, y) = pooled(OP, tape, x, window)?;
    let channels = x.shape().last();
    let lanes = lanes(channels);
    let variant = stored(x, lanes);
    let at = Tensor::empty(gpu, y.shape().clone(), DType::U32)?;
    let cols = channels / lanes;
    let params = params! { rows: u32 = y.shape().rows(), cols: u32 };
    let groups = Groups::cover(y.len() / lanes, 64);
    let tensors = [&picture.tensor(gpu)?, x, &y, &at];
    run(gpu, ("max_pool_fwd", &variant), &params, tensors, groups)?;
    tape.record_map(OP, x, &y, move |gpu, dy, dx| {
        let params = params! {
            rows: u32 = dx.grad.shape().rows(),
            cols: u32,
            accumulate: u32 = dx.flag(),
        };
        let groups = Groups::cover(dx.grad.len() / lanes, 64);
        let back = picture.backward(channels).tensor(gpu)?;
        let tensors = [&back, &at, dy, &dx.grad];
        run(gpu, ("max_pool_bwd", &variant), &params, tensors, groups)
    });
    Ok(y)
}

/// The mean of each window, what lies outside of the picture counting as zeros: x (N, H, W, C) to
/// (N, P, Q, C), f32 or f16. (`torch.nn.functional.avg_pool2d`.)
///
/// # Errors
/// As [`max_pool2d`].
pub fn avg_pool2d(tape: &Tape, x: &Tensor, window: &Window) -> Result<Tensor> {
    const OP: &str = "avg_pool2d";
    let (picture, y) = pooled(OP, tape, x, window)?;
    let channels = x.shape().last();
    let scale = 1.0 / window.taps() as f32;
    // Its gradient is a sum over windows too.
    let sum = move |gpu: &Gpu, picture: Picture, x: &Tensor, y: &Tensor, accumulate: u32| {
        let lanes = lanes(channels);
        let params = params! {
            rows: u32 = y.shape().rows(),
            cols: u32 = channels / lanes,
            accumulate: u32,
            scale: f32,
        };
        let groups = Groups::cover(y.len() / lanes, 64);
        let kernel = ("avg_pool", &stored(x, lanes));
        run(gpu, kernel, &params, [&picture.tensor(gpu)?, x, y], groups)
    };
    sum(tape.gpu(), picture, x, &y, 0)?;
    tape.record_map(OP, x, &y, move |gpu, dy, dx| {
        sum(gpu, picture.backward(channels), dy, &dx.grad, dx.flag())
    });
    Ok(y)
}

/// The means of windows that share each picture out evenly into `size`: x (N, H, W, C) to (N, P, Q, C), f32 or f16.
/// Where a side is no multiple, they overlap. (`torch.nn.functional.adaptive_avg_pool2d`.)
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`]; [`Error::Argument`] for no windows.
pub fn adaptive_avg_pool2d(tape: &Tape, x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    const OP: &str = "adaptive_avg_pool2d";
    let [n, height, width, channels] = pictures(OP, x)?;
    if size.contains(&0) {
        let found = format!("{} by {}", size[0], size[1]);
        return Err(Error::argument(OP, "size", found, "at least 1 by 1"));
    }
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, [n, size[0], size[1], channels], x.dtype())?;
    let lanes = lanes(channels);
    let variant = stored(x, lanes);
    let (source, cols) = ([height, width].map(|v| v as u32), channels / lanes);
    let result = size.map(|v| v as u32);
    let params = params! {
        rows: u32 = y.shape().rows(),
        cols: u32,
        source: [u32; 2],
        result: [u32; 2],
    };
    let groups = Groups::cover(y.len() / lanes, 64);
    let kernel = ("adaptive_avg_pool_fwd", &variant);
    run(gpu, kernel, &params, [x, &y], groups)?;
    tape.record_map(OP, x, &y, move |gpu, dy, dx| {
        let params = params! {
            rows: u32 = dx.grad.shape().rows(),
            cols: u32,
            source: [u32; 2],
            result: [u32; 2],
            accumulate: u32 = dx.flag(),
        };
        let groups = Groups::cover(dx.grad.len() / lanes, 64);
        let kernel = ("adaptive_avg_pool_bwd", &variant);
        run(gpu, kernel, &params, [dy, &dx.grad], groups)
    });
    Ok(y)
}
