//! Blocks of 32 numbers with one scale, and some with a smallest number: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1.
//! A number's low 4 bits stand in the block's last 16 bytes: byte i has those of numbers i and i + 16;
//! a fifth bit stands in 32 bits of their own.

use super::{half_at, put_half};

/// Numbers of a block.
const COUNT: usize = 32;

pub(super) fn unpack_q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (value, byte) in out.iter_mut().zip(&block[2..]) {
        *value = f32::from(*byte as i8) * scale;
    }
}

pub(super) fn pack_q8_0(values: &[f32], block: &mut [u8]) {
    let most = values.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let scale = most / 127.0;
    let inverse = inverse(scale);
    put_half(block, 0, scale);
    for (byte, value) in block[2..].iter_mut().zip(values) {
        *byte = (value * inverse).round() as i8 as u8;
    }
}

/// The steps of number `i`, whose fifth bits stand at `high`, if it has one.
fn steps(block: &[u8], high: Option<usize>, i: usize) -> u8 {
    let nibbles = &block[block.len() - COUNT / 2..];
    let low = nibbles[i % 16] >> (4 * (i / 16)) & 15;
    let fifth = high.map_or(0, |at| block[at + i / 8] >> (i % 8) & 1);
    low | fifth << 4
}

fn put_steps(block: &mut [u8], high: Option<usize>, i: usize, steps: u8) {
    let nibbles = block.len() - COUNT / 2;
    block[nibbles + i % 16] |= (steps & 15) << (4 * (i / 16));
    if let Some(at) = high {
        block[at + i / 8] |= (steps >> 4) << (i % 8);
    }
}

/// (q − centre)·scale
pub(super) fn unpack_centred(block: &[u8], out: &mut [f32], high: Option<usize>, centre: i8) {
    let scale = half_at(block, 0);
    for (i, value) in out.iter_mut().enumerate() {
        *value = scale * f32::from(steps(block, high, i) as i8 - centre);
    }
}

/// The number that is largest, by its sign, has the lowest step.
pub(super) fn pack_centred(values: &[f32], block: &mut [u8], high: Option<usize>, centre: i8) {
    let first = values.first().copied().unwrap_or(0.0);
    let largest = values.iter().fold(first, |most: f32, x| {
        // The first of equals, of zeros too.
        if x.abs() > most.abs() { *x } else { most }
    });
    let scale = largest / -f32::from(centre);
    let inverse = inverse(scale);
    block.fill(0);
    put_half(block, 0, scale);
    for (i, value) in values.iter().enumerate() {
        let step = value * inverse + (f32::from(centre) + 0.5);
        put_steps(block, high, i, (step as u8).min(2 * centre as u8 - 1));
    }
}

/// q·scale + smallest
pub(super) fn unpack_shifted(block: &[u8], out: &mut [f32], high: Option<usize>) {
    let (scale, least) = (half_at(block, 0), half_at(block, 2));
    for (i, value) in out.iter_mut().enumerate() {
        *value = scale * f32::from(steps(block, high, i)) + least;
    }
}

pub(super) fn pack_shifted(values: &[f32], block: &mut [u8], high: Option<usize>, most: u8) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let scale = (largest - least) / f32::from(most);
    let inverse = inverse(scale);
    block.fill(0);
    put_half(block, 0, scale);
    put_half(block, 2, least);
    for (i, value) in values.iter().enumerate() {
        let step = (value - least) * inverse + 0.5;
        put_steps(block, high, i, (step as u8).min(most));
    }
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
