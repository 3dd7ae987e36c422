//! What benchmarks, and some tests, compute with.

use melos::Result;
use melos::device::Gpu;
use melos::kernels::philox::philox4x32;
use melos::tensor::Tensor;

/// Numbers in (-size, size), the same on every run.
pub fn noise(len: usize, seed: u32, size: f32) -> Vec<f32> {
    let words = (0..len.div_ceil(4)).flat_map(|i| philox4x32([i as u32, 0, 0, 0], [seed, 0]));
    words
        .take(len)
        .map(|word| (word as f32 / u32::MAX as f32 * 2.0 - 1.0) * size)
        .collect()
}

/// A parameter: values with room for a gradient.
pub fn parameter(gpu: &Gpu, shape: &[usize], values: &[f32]) -> Result<Tensor> {
    Ok(Tensor::from_slice(gpu, shape, values)?.with_grad(Tensor::zeros(gpu, shape)?))
}

/// Its gradient on the host.
pub fn gradient(parameter: &Tensor) -> Result<Vec<f32>> {
    let gradient = parameter.grad().expect("a parameter has a gradient");
    gradient.to_vec()
}
