//! Operators that only move elements.

use crate::device::{Gpu, Groups};
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

/// Queues a strided copy; see the kernel's contract.
pub(super) fn copy_strided(gpu: &Gpu, x: &Tensor, y: &Tensor, params: &CopyParams) -> Result<()> {
    let kernel = gpu.kernel("copy_strided", &Variant::new())?;
    gpu.dispatch(
        &kernel,
        params,
        &[x.binding(), y.binding()],
        Groups::cover(params.n as usize, 256),
    )
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

/// Joins tensors along their last axis: (…, A), (…, B), … → (…, A + B + …).
///
/// # Errors
/// [`Error::Shape`] unless all other axes agree, [`Error::Argument`] for no tensor,
/// [`Error::DType`] unless all hold f32.
pub fn concat(tape: &Tape, parts: &[Tensor]) -> Result<Tensor> {
    const OP: &str = "concat";
    let Some(first) = parts.first() else {
        return Err(Error::Argument {
            op: OP,
            arg: "parts",
            value: "none".into(),
            expected: "at least one",
        });
    };
    let outer = &first.dims()[..first.dims().len() - 1];
    for part in parts {
        part.expect_dtype(OP, "parts", DType::F32)?;
        if &part.dims()[..part.dims().len() - 1] != outer {
            return Err(Error::Shape {
                op: OP,
                arg: "parts",
                expected: format!("all axes but the last as {}", first.shape()),
                found: part.shape().to_string(),
            });
        }
    }
    let width = parts.iter().map(|p| p.shape().last()).sum();
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, [outer, &[width]].concat(), DType::F32)?;
    let mut start = 0;
    for part in parts {
        copy_columns(gpu, (part, 0), (&y, start), part.shape().last(), false)?;
        start += part.shape().last();
    }
    let (inputs, out) = (parts.to_vec(), y.clone());
    tape.record(OP, &parts.iter().collect::<Vec<_>>(), &[&y], move |cx| {
        let Some(dy) = cx.upstream(&out)? else {
            return Ok(());
        };
        let mut start = 0;
        for part in &inputs {
            let columns = part.shape().last();
            if let Some(dx) = cx.sink(part)? {
                copy_columns(
                    cx.gpu(),
                    (&dy, start),
                    (&dx.grad, 0),
                    columns,
                    dx.accumulate,
                )?;
            }
            start += columns;
        }
        Ok(())
    });
    Ok(y)
}
