//! NF4 (Dettmers et al. 2023, "QLoRA", section 3): 64 numbers as the nearest of sixteen values, times the
//! largest of them. A block is that number in f32, then half a byte for each, the first in the high bits,
//! as in bitsandbytes.

/// The values (ibid., appendix E).
const VALUES: [f32; 16] = [
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
    for (pair, byte) in out.chunks_exact_mut(2).zip(steps) {
        pair[0] = VALUES[usize::from(byte >> 4)] * scale;
        pair[1] = VALUES[usize::from(byte & 15)] * scale;
    }
}

pub(super) fn pack(values: &[f32], block: &mut [u8]) {
    let most = values.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let inverse = if most == 0.0 { 0.0 } else { 1.0 / most };
    let (scale, steps) = block.split_at_mut(4);
    scale.copy_from_slice(&most.to_le_bytes());
    for (byte, pair) in steps.iter_mut().zip(values.chunks_exact(2)) {
        *byte = nearest(pair[0] * inverse) << 4 | nearest(pair[1] * inverse);
    }
}

/// The step whose value is nearest; of two as near, the lower.
fn nearest(x: f32) -> u8 {
    // A value is taken up to half of the way to the next.
    let middle = |pair: &[f32]| (pair[0] + pair[1]) / 2.0;
    VALUES.windows(2).filter(|pair| x > middle(pair)).count() as u8
}
