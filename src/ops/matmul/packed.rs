//! Products with a matrix that is packed in blocks: a few of its rows at a time are made plain and used
//! up, so that it is never there whole.

use super::dispatch::sized;
use super::low_rank::LowRank;
use super::sizes::{Layout, Sizes, Update};
use super::tensors::{Product, Shared};
use super::timing;
use super::vec;
use crate::error::{Error, Result};
use crate::ops::blocks::{Rows, expand};
use crate::tensor::{DType, Tensor};

/// Bytes of plain rows at a time, so few that a CPU's cache keeps them.
const BYTES: usize = 2 << 20;

/// Rows start on 256 bytes of a result or an operand of any float type.
const UNIT: usize = 128;

/// Queues a product whose B is packed; `sizes` are its own.
pub(super) fn product(p: &Product<'_>, sizes: &Sizes) -> Result<()> {
    let [rows, width] = p.b.dims2("matmul", "b")?;
    if sizes.batch > 1 || p.trans_a || p.trans_c {
        let (value, expected) = (
            "a batch, or A or C transposed",
            "plain matrices beside a packed one",
        );
        return Err(Error::argument("matmul", "b", value, expected));
    }
    let gpu = p.c.gpu();
    // Of slices of C's columns the mask would not be that of the whole.
    if let Some(update) = p
        .low_rank
        .filter(|update| p.trans_b && update.mask.is_some())
    {
        let (alone, sizes) = p.without_update(sizes);
        product(&alone, &sizes)?;
        return update.add_to(p.c);
    }
    if let Some(form) = vec::packed_form(sizes, gpu.caps()) {
        return sized(p, sizes, form);
    }
    let dtype = if p.a.is_half() {
        DType::F16
    } else {
        DType::F32
    };
    let most = BYTES / (dtype.bytes(width) as usize);
    let slice = (most / UNIT * UNIT).clamp(UNIT, rows.next_multiple_of(UNIT));
    let shared_a = Shared::default();
    for first in (0..rows).step_by(slice) {
        let count = slice.min(rows - first);
        let plain = Tensor::empty(gpu, [count, width], dtype)?;
        expand(p.b, Rows::From(first), &plain)?;
        let of_slice = Sizes {
            b: Sizes::new(1, sizes.n, sizes.k, false, p.trans_b).b,
            half: [p.a.is_half(), plain.is_half()],
            blocks: None,
            ..*sizes
        };
        let rest = |tensor: &Tensor| tensor.window(first, [tensor.len() - first]);
        if p.trans_b {
            // Its rows are columns of C, and of V.
            let (c, bias) = (rest(p.c)?, p.bias.map(rest).transpose()?);
            let v = match &p.low_rank {
                Some(update) => {
                    let start = first * of_slice.update.up_col as usize;
                    Some(update.v.window(start, [update.v.len() - start])?)
                }
                None => None,
            };
            let low_rank = p.low_rank.zip(v.as_ref());
            let part = Product {
                b: &plain,
                c: &c,
                bias: bias.as_ref(),
                low_rank: low_rank.map(|(update, v)| LowRank { v, ..update }),
                shared_a: p.shared_a.or(Some(&shared_a)),
                shared_b: None,
                ..*p
            };
            let n = count as u32;
            one(&part, &Sizes { n, ..of_slice })?;
        } else {
            // They are what is summed over: A's columns.
            let a = rest(p.a)?;
            let part = Product {
                a: &a,
                b: &plain,
                bias: p.bias.filter(|_| first == 0),
                low_rank: p.low_rank.filter(|_| first == 0),
                shared_a: None,
                shared_b: None,
                ..*p
            };
            let k = count as u32;
            let b = Layout {
                k: width as u32,
                extent: 1,
                batch: 0,
            };
            let of_slice = Sizes {
                k,
                b,
                accumulate: p.accumulate || first > 0,
                has_bias: part.bias.is_some(),
                update: part.low_rank.map_or(Update::default(), |_| sizes.update),
                ..of_slice
            };
            one(&part, &of_slice)?;
        }
    }
    Ok(())
}

fn one(part: &Product<'_>, sizes: &Sizes) -> Result<()> {
    sized(part, sizes, timing::choose(part.c.gpu(), sizes)?)
}
