//! Matrix products: the one place where a form is chosen and its dispatches are queued.

mod candidate;
mod choice;
mod dispatch;
mod image;
mod low_rank;
mod packed;
mod panels;
mod plan;
mod sizes;
mod split;
mod tensors;
mod timing;
mod vec;

pub use candidate::Candidate;
pub use dispatch::product_as;
pub(super) use dispatch::{gathered, max_k, pack};
pub(super) use image::{rows as image_rows_for, suits as suits_images};
pub use low_rank::LowRank;
pub(super) use panels::panels;
pub(super) use sizes::{Gathered, Layout, Sizes};
pub use tensors::{Product, Shared};
pub(super) use timing::{image_rows, reads_images};

use crate::error::Result;
use crate::tensor::{Tape, Tensor};
use tensors::{OP, matrices};

/// Queues a product, in the form that is fastest on this adapter.
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`]; [`crate::Error::Kernel`] for sizes beyond 32-bit indices.
pub fn product(p: &Product<'_>) -> Result<()> {
    let sizes = p.sizes()?;
    let gpu = p.c.gpu();
    if let Some(update) = &p.low_rank
        && !is_fused(p, &sizes)
    {
        product(&Product {
            low_rank: None,
            ..*p
        })?;
        return add_low_rank(update, p.c);
    }
    if p.b.is_packed() {
        return packed::product(p, &sizes);
    }
    if gpu.caps().is_cpu && p.columns_a.is_none() && is_narrow(&sizes) {
        let turned = p.turned();
        return product_as(&turned, timing::choose(gpu, &turned.sizes()?)?);
    }
    product_as(p, timing::choose(gpu, &sizes)?)
}

/// Whether C has so few columns, as in LoRA's products, that the kernels of CPU adapters would compute
/// many times as many that do not exist: their tiles have 64 columns, but as few as 8 rows.
fn is_narrow(sizes: &Sizes) -> bool {
    sizes.n <= 16
        && sizes.n < sizes.m
        && sizes.batch == 1
        && !sizes.has_bias
        && sizes.update.rank == 0
}

/// Whether a product can add its update in the same pass.
fn is_fused(p: &Product<'_>, sizes: &Sizes) -> bool {
    // Masks are drawn for four neighbours at once, and slices of C's columns would not have those of the whole.
    let sliced = p.b.is_packed() && p.trans_b;
    let masked = sizes.update.threshold > 0;
    // Matrix units take nothing but f16, which U and V are not.
    let by_units =
        p.a.is_half() && (p.b.is_half() || p.b.is_packed()) && p.c.gpu().caps().matrix.is_some();
    !(by_units || masked && (sliced || !sizes.n.is_multiple_of(4)))
}

/// Queues a low-rank update of what C (M, N) holds, by itself.
pub(super) fn add_low_rank(update: &LowRank<'_>, c: &Tensor) -> Result<()> {
    let through = |c: &Tensor, alpha, accumulate| {
        product(&Product {
            trans_b: update.trans_v,
            alpha,
            accumulate,
            ..Product::new(update.u, update.v, c)
        })
    };
    let Some(draw) = update.mask else {
        return through(c, update.scale, true);
    };
    let own = Tensor::empty(c.gpu(), c.shape().clone(), c.dtype())?;
    through(&own, 1.0, false)?;
    draw.backward(&own, c, true)
}

/// y = A·B for matrices or batches of them, each optionally transposed; y holds what A does.
///
/// # Errors
/// As [`product`].
pub fn matmul(tape: &Tape, a: &Tensor, b: &Tensor, trans_a: bool, trans_b: bool) -> Result<Tensor> {
    let (_, a_dims) = matrices(a, "a")?;
    let (_, b_dims) = matrices(b, "b")?;
    let [m, n] = [a_dims[usize::from(trans_a)], b_dims[usize::from(!trans_b)]];
    let lead = &a.dims()[..a.dims().len() - 2];
    let y = Tensor::empty(tape.gpu(), [lead, &[m, n]].concat(), a.dtype())?;
    product(&Product {
        trans_a,
        trans_b,
        ..Product::new(a, b, &y)
    })?;
    let (a2, b2) = (a.clone(), b.clone());
    tape.record_one(OP, &[a, b], &y, move |cx, dy| {
        // dA = dy·op(B)ᵀ, or its transpose op(B)·dyᵀ.
        let da = if trans_a {
            (&b2, dy, trans_b, true)
        } else {
            (dy, &b2, false, !trans_b)
        };
        let db = if trans_b {
            (dy, &a2, true, trans_a)
        } else {
            (&a2, dy, !trans_a, false)
        };
        for (operand, (left, right, trans_a, trans_b)) in [(&a2, da), (&b2, db)] {
            if let Some(sink) = cx.sink(operand)? {
                product(&Product {
                    trans_a,
                    trans_b,
                    accumulate: sink.accumulate,
                    ..Product::new(left, right, &sink.grad)
                })?;
            }
        }
        Ok(())
    });
    Ok(y)
}
