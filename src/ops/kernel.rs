//! What operators share in running kernels.

use crate::device::{Gpu, Groups};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::Tensor;

/// Values in one element of a kernel's buffers: four where a size allows it (the flag `VEC4`), else
/// one. Wide loads pay most on CPU drivers.
pub(super) fn lanes(size: usize) -> usize {
    if size.is_multiple_of(4) { 4 } else { 1 }
}

/// The variant for buffers that hold what `x` does, so many values an element.
pub(super) fn stored(x: &Tensor, lanes: usize) -> Variant {
    Variant::new()
        .with("F16", x.is_half())
        .with("VEC4", lanes == 4)
}

/// Queues a kernel that is bound to whole tensors.
pub(super) fn run<'a>(
    gpu: &Gpu,
    (kernel, variant): (&str, &Variant),
    params: &impl bytemuck::Pod,
    tensors: impl IntoIterator<Item = &'a Tensor>,
    groups: Groups,
) -> Result<()> {
    let kernel = gpu.kernel(kernel, variant)?;
    let bindings: Vec<_> = tensors.into_iter().map(Tensor::binding).collect();
    gpu.dispatch(&kernel, params, &bindings, groups)
}
