//! Products with few results and a long inner size: parts of that at once, then their sum.
//!
//! A GPU has room for hundreds of tiles where such a product, a gradient of LoRA's say, has ten: the rest
//! of the device would wait for those to go through all of k.

use super::matmul::{Product, part_as};
use super::matmul_pack::Layout;
use super::matmul_plan::{Activation, Candidate, Product as Sizes};
use super::reduce::sum_columns;
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// Tiles of 64 by 64 that fill most devices.
const FULL: u64 = 128;
/// Parts of k are multiples of this, so that any number of them falls on every adapter's alignment.
const UNIT: u32 = 128;
/// Shorter parts than this cost more to add up than they gain.
const SHORTEST: u64 = 256;

/// Whether parts of the product can be added up: nothing but the sum follows them.
pub(super) fn can_split(p: &Sizes) -> bool {
    let gaps = p.trans_c || p.ldc != p.n;
    p.batch == 1 && !p.has_bias && p.act == Activation::None && !gaps && !p.half_c
}

/// Parts of k worth making at once, where there are any; as many for all products of a class.
pub(super) fn parts(p: &Sizes) -> Option<u32> {
    let up = |size: u32| u64::from(size).next_power_of_two();
    let tiles = up(p.m).div_ceil(64) * up(p.n).div_ceil(64);
    let parts = (FULL / tiles).min(up(p.k) / SHORTEST) as u32;
    (can_split(p) && parts > 1).then_some(parts)
}

/// Queues the product of `sizes` in about so many parts, each in the form `of`.
pub(super) fn split_as(p: &Product<'_>, sizes: &Sizes, parts: u32, of: Candidate) -> Result<()> {
    if !can_split(sizes) {
        return Err(Error::Kernel {
            kernel: "matmul".into(),
            message: "parts of k take no batch, bias or activation, and no C with gaps, transposed or of f16".into(),
        });
    }
    let k = sizes.k.div_ceil(parts.max(1));
    let k = k.next_multiple_of(UNIT).min(sizes.k).max(1);
    let (whole, rest) = (sizes.k / k, sizes.k % k);
    let [m, n] = [sizes.m, sizes.n].map(|size| size as usize);
    let partial = Tensor::empty(p.c.gpu(), [whole as usize, m, n], DType::F32)?;
    let apart = |layout: Layout| Layout {
        batch: k * layout.k,
        ..layout
    };
    let all = Sizes {
        k,
        batch: whole,
        a: apart(sizes.a),
        b: apart(sizes.b),
        c_batch: sizes.m.saturating_mul(sizes.n),
        accumulate: false,
        ..*sizes
    };
    let into = Product { c: &partial, ..*p };
    part_as(&into, &all, (p.a, p.b), (None, None), of)?;
    let sums = partial.reshaped([whole as usize, m * n])?;
    sum_columns(&sums, &p.c.reshaped([m * n])?, p.accumulate)?;
    if rest == 0 {
        return Ok(());
    }
    let last = Sizes {
        k: rest,
        accumulate: true,
        ..*sizes
    };
    let from = |operand: &Tensor, layout: Layout| {
        let start = (whole * k) as usize * layout.k as usize;
        operand.window(start, [operand.len() - start])
    };
    let (a, b) = (from(p.a, sizes.a)?, from(p.b, sizes.b)?);
    part_as(p, &last, (&a, &b), (None, None), of)
}
