//! Writes one number everywhere.

use crate::device::Groups;
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{DType, Tensor};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    offset: u32,
    value: f32,
}

/// Queues `y[..] = value`.
///
/// # Errors
/// [`crate::Error::DType`] when `y` does not hold f32.
pub fn fill(y: &Tensor, value: f32) -> Result<()> {
    y.expect_dtype("fill", "y", DType::F32)?;
    let kernel = y.gpu().kernel("fill", &Variant::new())?;
    let params = Params {
        n: y.len() as u32,
        offset: 0,
        value,
    };
    y.gpu().dispatch(
        &kernel,
        &params,
        &[y.binding()],
        Groups::cover(y.len(), 256),
    )
}
