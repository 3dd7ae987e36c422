//! NF4 (Dettmers et al. 2023, "QLoRA", section 3): 64 numbers as the nearest of sixteen values, times the
//! largest of them. A block is that number in f32, then half a byte for each, the first in the high bits,
//! as in bitsandbytes.

/// The values (ibid., appendix E).
pub(super) const VALUES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

pub(super) fn unpack(block: &[u8], out: &mut [f32]) {
    let (scale, steps) = block.split_at(4);
    let scale = f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
    unpack_steps(steps, scale, out);
}

pub(super) fn pack(values: &[f32], block: &mut [u8]) {
    let (scale, steps) = block.split_at_mut(4);
    scale.copy_from_slice(&pack_steps(values, steps).to_le_bytes());
}

/// Numbers that have this scale.
pub(super) fn unpack_steps(steps: &[u8], scale: f32, out: &mut [f32]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(steps) {
        pair[0] = VALUES[usize::from(byte >> 4)] * scale;
        pair[1] = VALUES[usize::from(byte & 15)] * scale;
    }
}

/// Packs numbers by the largest of them, which it returns.
pub(super) fn pack_steps(values: &[f32], steps: &mut [u8]) -> f32 {
    let most = largest(values);
    let inverse = 1.0 / most.max(LEAST);
    for (byte, pair) in steps.iter_mut().zip(values.chunks_exact(2)) {
        let step = |x: f32| nearest(&VALUES, (x * inverse).clamp(-1.0, 1.0)) as u8;
        *byte = step(pair[0]) << 4 | step(pair[1]);
    }
    most
}

/// What numbers are divided by at least, in bitsandbytes.
pub(super) const LEAST: f32 = 1e-38;

/// The largest, whatever its sign.
pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, x| most.max(x.abs()))
}

/// The place of the value that is nearest, of values that rise; of two as near, the lower.
pub(super) fn nearest(values: &[f32], x: f32) -> usize {
    // A value is taken up to half of the way to the next.
    let places = values.len() - 1;
    let beyond = |at: usize| x > (values[at] + values[at + 1]) / 2.0;
    let (mut low, mut high) = (0, places);
    while low < high {
        let middle = (low + high) / 2;
        if beyond(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
