//! NF4 with double quantisation (Dettmers et al. 2023, "QLoRA", section 3): the scales of 64 numbers each are
//! bytes themselves, as `compress_statistics` of bitsandbytes makes them: their distance to the mean of all,
//! as one of 256 values times the largest of 256 of them.
//!
//! A block is what sixteen scales need: that largest distance and the mean in f32, the sixteen bytes, and the
//! steps of 1,024 numbers. Blocks follow each other through the whole matrix, across its rows, and the last
//! one may be filled up; a row is a multiple of 64.

use std::sync::LazyLock;

use super::nf4::{LEAST, largest, nearest, pack_steps, unpack_steps};

/// Numbers that share a scale.
pub(super) const SHARE: usize = 64;
/// Scales of a block.
const SCALES: usize = 16;
/// Scales that share a largest distance.
const GROUP: usize = 256;
/// Where in a block the scales stand, and the steps.
const AT_SCALES: usize = 8;
const AT_STEPS: usize = AT_SCALES + SCALES;

/// The values that a byte stands for (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization",
/// section 1.3): 127 of either sign, 0 and 1. Those of a power of ten lie in the middle of equal steps, and
/// every next power has twice as many.
pub(crate) static DYNAMIC: LazyLock<[f32; 256]> = LazyLock::new(|| {
    let mut values = [0.0; 256];
    values[255] = 1.0;
    for (power, most) in [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0].iter().enumerate() {
        let steps = 1 << power;
        // Rounded where PyTorch's `linspace` rounds.
        let step = (1.0f32 - 0.1) / steps as f32;
        let bound = |k: i32| match k < (steps + 1) / 2 {
            true => step.mul_add(k as f32, 0.1),
            false => (-step).mul_add((steps - k) as f32, 1.0),
        };
        for k in 0..steps {
            let value = most * ((bound(k) + bound(k + 1)) / 2.0);
            let from_zero = (steps + k) as usize;
            (values[127 + from_zero], values[127 - from_zero]) = (value, -value);
        }
    }
    values
});

fn float(block: &[u8], at: usize) -> f32 {
    f32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

pub(super) fn unpack(block: &[u8], out: &mut [f32]) {
    let (scales, steps) = block[AT_SCALES..].split_at(SCALES);
    let shares = out
        .chunks_exact_mut(SHARE)
        .zip(steps.chunks_exact(SHARE / 2));
    for ((out, steps), code) in shares.zip(scales) {
        let scale = DYNAMIC[usize::from(*code)] * float(block, 0) + float(block, 4);
        unpack_steps(steps, scale, out);
    }
}

/// The blocks of a whole matrix, of a multiple of 64 numbers.
pub(super) fn pack(values: &[f32]) -> Vec<u8> {
    let mut steps = vec![0; values.len() / 2];
    let shares = steps
        .chunks_exact_mut(SHARE / 2)
        .zip(values.chunks_exact(SHARE));
    let scales: Vec<f32> = shares
        .map(|(steps, values)| pack_steps(values, steps))
        .collect();
    let sum: f64 = scales.iter().copied().map(f64::from).sum();
    let mean = (sum / scales.len().max(1) as f64) as f32;
    let (mut codes, mut largest_of) = (Vec::new(), Vec::new());
    for group in scales.chunks(GROUP) {
        let apart: Vec<f32> = group.iter().map(|scale| scale - mean).collect();
        let most = largest(&apart);
        let inverse = 1.0 / most.max(LEAST);
        let code = |x: &f32| nearest(&*DYNAMIC, (x * inverse).clamp(-1.0, 1.0)) as u8;
        codes.extend(apart.iter().map(code));
        largest_of.push(most);
    }
    joined(&codes, &largest_of, mean, &steps)
}

/// Blocks of what a file has apart: the scales' bytes, the largest distance of each 256 of them, the mean,
/// and the steps.
pub(crate) fn joined(codes: &[u8], largest: &[f32], mean: f32, steps: &[u8]) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(codes.len().div_ceil(SCALES) * (AT_STEPS + SCALES * SHARE / 2));
    let blocks = codes.chunks(SCALES).zip(steps.chunks(SCALES * SHARE / 2));
    for (n, (codes, steps)) in blocks.enumerate() {
        let end = bytes.len() + AT_STEPS + SCALES * SHARE / 2;
        bytes.extend(largest[n * SCALES / GROUP].to_le_bytes());
        bytes.extend(mean.to_le_bytes());
        bytes.extend(codes);
        bytes.resize(end - SCALES * SHARE / 2, 0);
        bytes.extend(steps);
        bytes.resize(end, 0);
    }
    bytes
}
