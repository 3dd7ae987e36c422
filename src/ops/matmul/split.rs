//! Products with few results and a long inner size: parts of that at once, then their sum.
//!
//! A GPU has room for hundreds of tiles where such a product, a gradient of LoRA's say, has ten: the rest
//! of the device would wait for those to go through all of k.

use super::sizes::Sizes;

/// Tiles of 64 by 64 that fill most devices.
const FULL: u64 = 128;
/// Parts of k are multiples of this, so that any number of them falls on every adapter's alignment.
pub(super) const UNIT: u32 = 128;
/// Shorter parts than this cost more to add up than they gain.
const SHORTEST: u64 = 256;

/// Whether parts of the product can be added up: nothing but the sum follows them.
pub(super) fn can_split(p: &Sizes) -> bool {
    let gaps = p.trans_c || p.ldc != p.n;
    p.batch == 1 && !p.has_bias && !gaps && !p.half_c && p.update.rank == 0
}

/// Parts of k worth making at once, where there are any; as many for all products of a class.
pub(super) fn parts(p: &Sizes) -> Option<u32> {
    let up = |size: u32| u64::from(size).next_power_of_two();
    let tiles = up(p.m).div_ceil(64) * up(p.n).div_ceil(64);
    let parts = (FULL / tiles).min(up(p.k) / SHORTEST) as u32;
    (can_split(p) && parts > 1).then_some(parts)
}
