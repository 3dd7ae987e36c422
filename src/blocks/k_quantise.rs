//! Q4_K, Q5_K and Q6_K, packed as llama.cpp's reference does without an importance matrix: the scale of a
//! sub-block is searched for around the plain one, and of each that is tried the best scale (and smallest
//! number) for its steps is the least-squares solution.

use super::k::scale_and_least;
use super::{half_at, put_half};

/// A sub-block whose largest number is smaller is 0.
const NOTHING: f32 = 1e-15;

/// To the nearest, of equals to the even one.
fn nearest(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// The search of [`shifted`]: steps of the scale that are tried.
struct Search {
    most: i32,
    from: f32,
    step: f32,
    tries: usize,
}

/// Scale and −smallest number of 32 numbers as q·scale + smallest, with the least error where large numbers
/// count more.
fn shifted(x: &[f32], search: &Search) -> (f32, f32) {
    let most = search.most as f32;
    let square: f32 = x.iter().map(|x| x * x).sum();
    let root_mean = (square / x.len() as f32).sqrt();
    let weight = |x: f32| root_mean + x.abs();
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let least = x.iter().copied().fold(f32::INFINITY, f32::min).min(0.0);
    if largest == least {
        return (0.0, -least);
    }
    let (mut sum_w, mut sum_x) = (0.0, 0.0);
    for &x in x {
        sum_w += weight(x);
        sum_x += weight(x) * x;
    }
    // The steps of a number, and their error, where they begin at `low`.
    let steps =
        |inverse: f32, low: f32, x: f32| nearest(inverse * (x - low)).clamp(0, search.most) as f32;
    let error = |inverse: f32, low: f32, scale: f32, shift: f32| {
        x.iter().fold(0.0, |sum, &x| {
            let off = scale * steps(inverse, low, x) + shift - x;
            sum + weight(x) * (off * off)
        })
    };
    let plain = most / (largest - least);
    let (mut best, mut low) = (1.0 / plain, least);
    let mut best_error = error(plain, low, best, low);
    for tried in 0..=search.tries {
        let inverse = (search.from + search.step * tried as f32 + most) / (largest - low);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
        for &x in x {
            let (l, w) = (steps(inverse, low, x), weight(x));
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut shift = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if shift > 0.0 {
                (scale, shift) = (sum_xl / sum_l2, 0.0);
            }
            let found = error(inverse, low, scale, shift);
            if found < best_error {
                (best, low, best_error) = (scale, shift, found);
            }
        }
    }
    (best, -low)
}

/// The scales of 8 sub-blocks in 6 bits each, then the steps of all numbers with them.
fn pack_shifted(values: &[f32], block: &mut [u8], search: &Search) -> [u8; 256] {
    let mut found = [(0.0, 0.0); 8];
    let (mut most_scale, mut most_least) = (0.0f32, 0.0f32);
    for (pair, values) in found.iter_mut().zip(values.chunks_exact(32)) {
        *pair = shifted(values, search);
        most_scale = most_scale.max(pair.0);
        most_least = most_least.max(pair.1);
    }
    let inverse = |most: f32| if most > 0.0 { 63.0 / most } else { 0.0 };
    let [to_scale, to_least] = [most_scale, most_least].map(inverse);
    block.fill(0);
    let scale = put_half(block, 0, most_scale / 63.0);
    let least = put_half(block, 2, most_least / 63.0);
    for (j, (sub, sub_least)) in found.into_iter().enumerate() {
        let [s, m] = [to_scale * sub, to_least * sub_least].map(|x| nearest(x).min(63) as u8);
        let packed = &mut block[4..16];
        if j < 4 {
            (packed[j], packed[j + 4]) = (s, m);
        } else {
            packed[j + 4] = s & 15 | (m & 15) << 4;
            packed[j - 4] |= s >> 4 << 6;
            packed[j] |= m >> 4 << 6;
        }
    }
    let mut steps = [0; 256];
    for (i, (step, value)) in steps.iter_mut().zip(values).enumerate() {
        let (sub, sub_least) = scale_and_least(&block[4..16], i / 32);
        let (d, m) = (scale * f32::from(sub), least * f32::from(sub_least));
        if d != 0.0 {
            *step = nearest((value + m) / d).clamp(0, search.most) as u8;
        }
    }
    steps
}

pub(super) fn pack_q4(values: &[f32], block: &mut [u8]) {
    let search = Search {
        most: 15,
        from: -1.0,
        step: 0.1,
        tries: 20,
    };
    let steps = pack_shifted(values, block, &search);
    put_nibbles(&steps, &mut block[16..]);
}

pub(super) fn pack_q5(values: &[f32], block: &mut [u8]) {
    let search = Search {
        most: 31,
        from: -0.5,
        step: 0.1,
        tries: 15,
    };
    let steps = pack_shifted(values, block, &search);
    put_nibbles(&steps, &mut block[48..]);
    for (i, step) in steps.iter().enumerate() {
        block[16 + i % 32] |= (step >> 4) << (i / 32);
    }
}

/// The low 4 bits: of every 64 numbers the first 32 in the low halves of 32 bytes, the others in the high ones.
fn put_nibbles(steps: &[u8; 256], nibbles: &mut [u8]) {
    for (i, step) in steps.iter().enumerate() {
        nibbles[i / 64 * 32 + i % 32] |= (step & 15) << (4 * (i % 64 / 32));
    }
}

/// The scale of 16 numbers as q·scale with q in −32 … 31, with the least error where large numbers count more.
fn centred(x: &[f32]) -> f32 {
    let largest = x.iter().fold(
        0.0,
        |most: f32, x| {
            if x.abs() > most.abs() { *x } else { most }
        },
    );
    if largest.abs() < NOTHING {
        return 0.0;
    }
    let sums = |inverse: f32| {
        x.iter().fold((0.0, 0.0), |(xl, l2), &x| {
            let (l, w) = (nearest(inverse * x).clamp(-32, 31) as f32, x * x);
            (xl + w * x * l, l2 + w * l * l)
        })
    };
    let (xl, l2) = sums(-32.0 / largest);
    let mut scale = if l2 > 0.0 { xl / l2 } else { 0.0 };
    let mut best = scale * xl;
    for tried in (-9i32..=9).filter(|tried| *tried != 0) {
        let (xl, l2) = sums(-(32.0 + 0.1 * tried as f32) / largest);
        if l2 > 0.0 && xl * xl > best * l2 {
            scale = xl / l2;
            best = scale * xl;
        }
    }
    scale
}

pub(super) fn pack_q6(values: &[f32], block: &mut [u8]) {
    let mut scales = [0.0; 16];
    let mut largest = 0.0f32;
    for (scale, values) in scales.iter_mut().zip(values.chunks_exact(16)) {
        *scale = centred(values);
        if scale.abs() > largest.abs() {
            largest = *scale;
        }
    }
    block.fill(0);
    if largest.abs() < NOTHING {
        return;
    }
    let inverse = -128.0 / largest;
    put_half(block, 208, 1.0 / inverse);
    let scale = half_at(block, 208);
    for (j, sub) in scales.into_iter().enumerate() {
        block[192 + j] = nearest(inverse * sub).min(127) as i8 as u8;
    }
    for (i, value) in values.iter().enumerate() {
        let d = scale * f32::from(block[192 + i / 16] as i8);
        // Without a scale the steps mean nothing; they are those of 0.
        let step = match d {
            0.0 => 32,
            d => (nearest(value / d).clamp(-32, 31) + 32) as u8,
        };
        let (half, quarter, at) = (i / 128, i % 128 / 32, i % 32);
        block[half * 64 + quarter % 2 * 32 + at] |= (step & 15) << (4 * (quarter / 2));
        block[128 + half * 32 + at] |= step >> 4 << (2 * quarter);
    }
}
