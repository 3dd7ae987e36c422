//! Operators that only move elements.

use super::kernel::run;
use super::window::pictures;
use crate::device::{Gpu, Groups, params};
use crate::error::{Error, Result};
use crate::kernels::Variant;
use crate::tensor::{DType, Tape, Tensor};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct CopyParams {
    pub shape: [u32; 4],
    pub stride_x: [u32; 4],
    pub stride_y: [u32; 4],
    pub n: u32,
    pub offset_x: u32,
    pub offset_y: u32,
    pub accumulate: u32,
}

/// Queues a strided copy between tensors of one float type; see the kernel's contract.
pub(super) fn copy_strided(gpu: &Gpu, x: &Tensor, y: &Tensor, params: &CopyParams) -> Result<()> {
    let kernel = ("copy_strided", &Variant::new().with("F16", x.is_half()));
    let groups = Groups::cover(params.n as usize, 256);
    run(gpu, kernel, params, [x, y], groups)
}

/// Queues copying (or adding) `columns` columns of every row from one matrix to another.
pub(super) fn copy_columns(
    gpu: &Gpu,
    (x, x_first): (&Tensor, usize),
    (y, y_first): (&Tensor, usize),
    columns: usize,
    accumulate: bool,
) -> Result<()> {
    let rows = x.shape().rows();
    let params = CopyParams {
        shape: [1, 1, rows as u32, columns as u32],
        stride_x: [0, 0, x.shape().last() as u32, 1],
        stride_y: [0, 0, y.shape().last() as u32, 1],
        n: (rows * columns) as u32,
        offset_x: x_first as u32,
        offset_y: y_first as u32,
        accumulate: u32::from(accumulate),
    };
    copy_strided(gpu, x, y, &params)
}

/// The numbers of each picture in a row, channel by channel: (N, H, W, C) → (N, C·H·W), as PyTorch flattens
/// (N, C, H, W).
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`].
pub fn flatten(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    const OP: &str = "flatten";
    let [n, height, width, channels] = pictures(OP, x)?;
    let pixels = height * width;
    let y = Tensor::empty(tape.gpu(), [n, channels * pixels], x.dtype())?;
    // Pixels by channels on one side, channels by pixels on the other.
    let [last, first] = [channels, pixels].map(|v| v as u32);
    let params = CopyParams {
        shape: [1, n as u32, first, last],
        stride_x: [0, first * last, last, 1],
        stride_y: [0, first * last, 1, first],
        n: x.len() as u32,
        offset_x: 0,
        offset_y: 0,
        accumulate: 0,
    };
    copy_strided(tape.gpu(), x, &y, &params)?;
    tape.record_map(OP, x, &y, move |gpu, dy, dx| {
        let back = CopyParams {
            stride_x: params.stride_y,
            stride_y: params.stride_x,
            accumulate: dx.flag(),
            ..params
        };
        copy_strided(gpu, dy, &dx.grad, &back)
    });
    Ok(y)
}

/// Joins tensors along their last axis: (…, A), (…, B), … → (…, A + B + …).
///
/// # Errors
/// [`Error::Shape`] unless all other axes agree, [`Error::Argument`] for no tensor,
/// [`Error::DType`] unless all hold the same float type.
pub fn concat(tape: &Tape, parts: &[Tensor]) -> Result<Tensor> {
    const OP: &str = "concat";
    let Some(first) = parts.first() else {
        return Err(Error::argument(OP, "parts", "none", "at least one"));
    };
    let outer = &first.dims()[..first.dims().len() - 1];
    for part in parts {
        part.expect_float(OP, "parts")?;
        part.expect_dtype(OP, "parts", first.dtype())?;
        if &part.dims()[..part.dims().len() - 1] != outer {
            let expected = format!("all axes but the last as {}", first.shape());
            return Err(part.wrong_shape(OP, "parts", expected));
        }
    }
    let width = parts.iter().map(|p| p.shape().last()).sum();
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, [outer, &[width]].concat(), first.dtype())?;
    let mut start = 0;
    for part in parts {
        copy_columns(gpu, (part, 0), (&y, start), part.shape().last(), false)?;
        start += part.shape().last();
    }
    let inputs = parts.to_vec();
    tape.record_one(OP, &parts.iter().collect::<Vec<_>>(), &y, move |cx, dy| {
        let mut start = 0;
        for part in &inputs {
            let columns = part.shape().last();
            if let Some(dx) = cx.sink(part)? {
                let to = (&dx.grad, 0);
                copy_columns(cx.gpu(), (dy, start), to, columns, dx.accumulate)?;
            }
            start += columns;
        }
        Ok(())
    });
    Ok(y)
}

/// Place `index` of every row's sequence: x (B, T, C) → (B, C).
///
/// # Errors
/// [`Error::Shape`] unless `x` has three axes and `index` < T, [`Error::DType`].
pub fn column(tape: &Tape, x: &Tensor, index: usize) -> Result<Tensor> {
    const OP: &str = "column";
    x.expect_float(OP, "x")?;
    let [rows, steps, width] = x.dims3(OP, "x")?;
    if index >= steps {
        return Err(x.wrong_shape(OP, "x", format!("(B, T, C) with T > {index}")));
    }
    // The places of a sequence side by side.
    let lines = x.reshaped([rows, steps * width])?;
    columns(tape, &lines, index * width, width)
}

/// Columns `first..first + width` of the last axis: (…, W) → (…, width).
///
/// # Errors
/// [`Error::Shape`] when there are fewer, [`Error::DType`].
pub fn columns(tape: &Tape, x: &Tensor, first: usize, width: usize) -> Result<Tensor> {
    const OP: &str = "columns";
    x.expect_float(OP, "x")?;
    let outer = match x.dims().split_last() {
        Some((last, outer)) if first + width <= *last => outer,
        _ => {
            return Err(x.wrong_shape(OP, "x", format!("(…, {} or more)", first + width)));
        }
    };
    let y = Tensor::empty(tape.gpu(), [outer, &[width]].concat(), x.dtype())?;
    copy_columns(tape.gpu(), (x, first), (&y, 0), width, false)?;
    tape.record_map(OP, x, &y, move |gpu, dy, dx| {
        if !dx.accumulate {
            dx.grad.clear();
        }
        copy_columns(gpu, (dy, 0), (&dx.grad, first), width, true)
    });
    Ok(y)
}

/// Queues copying columns `first..first + C` of x (B, T, …) into cache (B, S, C), each row b from
/// place starts\[b\] on; starts (B) u32. What would lie past the end is left out.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`].
pub fn cache_append(x: &Tensor, first: usize, starts: &Tensor, cache: &Tensor) -> Result<()> {
    const OP: &str = "cache_append";
    x.expect_dtype(OP, "x", DType::F32)?;
    cache.expect_dtype(OP, "cache", DType::F32)?;
    let [rows, steps, row] = x.dims3(OP, "x")?;
    let [_, capacity, width] = cache.dims3(OP, "cache")?;
    cache.expect(OP, "cache", &[rows, capacity, width], DType::F32)?;
    starts.expect(OP, "starts", &[rows], DType::U32)?;
    if first + width > row {
        return Err(x.wrong_shape(OP, "x", format!("(B, T, {} or more)", first + width)));
    }
    let params = params! {
        n: u32 = rows * steps * width,
        steps: u32,
        capacity: u32,
        width: u32,
        row: u32,
        first: u32,
    };
    let kernel = ("cache_append", &Variant::new());
    let groups = Groups::cover(params.n as usize, 256);
    run(x.gpu(), kernel, &params, [starts, x, cache], groups)
}
