//! Blocks of 256 numbers in sub-blocks of 16 or 32, whose scales are whole numbers times the block's own:
//! Q2_K to Q6_K, unpacked.

use super::half_at;

/// The scales, or the smallest numbers, of the 8 sub-blocks of a Q4_K or Q5_K: 6 bits each, packed in 12
/// bytes. Those of the first four stand in bytes 0 to 3 (scales) and 4 to 7 (smallest); of the others the
/// low 4 bits stand in bytes 8 to 11 and the high 2 bits above those of the first four.
pub(super) fn scale_and_least(packed: &[u8], j: usize) -> (u8, u8) {
    match j {
        0..4 => (packed[j] & 63, packed[j + 4] & 63),
        _ => {
            let low = packed[j + 4];
            let high = |at: usize| packed[at] >> 6 << 4;
            (low & 15 | high(j - 4), low >> 4 | high(j))
        }
    }
}

pub(super) fn unpack_q2(block: &[u8], out: &mut [f32]) {
    let (scales, steps) = (&block[..16], &block[16..80]);
    let (scale, least) = (half_at(block, 80), half_at(block, 82));
    for (i, value) in out.iter_mut().enumerate() {
        // 128 numbers share 32 bytes: each quarter of them two bits of every byte.
        let (half, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let step = steps[half * 32 + at] >> (2 * quarter) & 3;
        let sub = scales[i / 16];
        let (d, m) = (scale * f32::from(sub & 15), least * f32::from(sub >> 4));
        *value = d * f32::from(step) - m;
    }
}

pub(super) fn unpack_q3(block: &[u8], out: &mut [f32]) {
    let (high, steps, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108);
    for (i, value) in out.iter_mut().enumerate() {
        let (half, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let low = steps[half * 32 + at] >> (2 * quarter) & 3;
        // Its third bit counts where it is not set.
        let third = high[at] >> (i / 32) & 1;
        let step = low as i8 - if third == 1 { 0 } else { 4 };
        let sub = i / 16;
        let nibble = scales[sub % 8] >> (4 * (sub / 8)) & 15;
        let two = scales[8 + sub % 4] >> (2 * (sub / 4)) & 3;
        let d = scale * f32::from((nibble | two << 4) as i8 - 32);
        *value = d * f32::from(step);
    }
}

pub(super) fn unpack_q4(block: &[u8], out: &mut [f32]) {
    unpack_shifted(block, out, &block[16..144], None);
}

pub(super) fn unpack_q5(block: &[u8], out: &mut [f32]) {
    unpack_shifted(block, out, &block[48..176], Some(&block[16..48]));
}

fn unpack_shifted(block: &[u8], out: &mut [f32], nibbles: &[u8], fifth: Option<&[u8]>) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    for (j, values) in out.chunks_exact_mut(32).enumerate() {
        let (sub, sub_least) = scale_and_least(&block[4..16], j);
        let (d, m) = (scale * f32::from(sub), least * f32::from(sub_least));
        for (at, value) in values.iter_mut().enumerate() {
            let low = nibbles[j / 2 * 32 + at] >> (4 * (j % 2)) & 15;
            let fifth = fifth.map_or(0, |bits| bits[at] >> j & 1);
            *value = d * f32::from(low | fifth << 4) - m;
        }
    }
}

pub(super) fn unpack_q6(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for (i, value) in out.iter_mut().enumerate() {
        let (half, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[half * 64 + quarter % 2 * 32 + at] >> (4 * (quarter / 2)) & 15;
        let two = high[half * 32 + at] >> (2 * quarter) & 3;
        let d = scale * f32::from(scales[i / 16] as i8);
        *value = d * f32::from((nibble | two << 4) as i8 - 32);
    }
}
