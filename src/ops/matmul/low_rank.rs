//! The low-rank update that a product adds to its sums, so that nothing passes over C again.

use super::product;
use super::sizes::Update;
use super::tensors::{OP, Product};
use crate::error::{Error, Result};
use crate::ops::dropout::Draw;
use crate::tensor::{DType, Tensor};

/// C += scale · U·V, or the mask of a dropout times U·V.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// U (M, R) f32
    pub u: &'a Tensor,
    /// V (R, N) f32, or (N, R) with `trans_v`.
    pub v: &'a Tensor,
    /// Take V transposed.
    pub trans_v: bool,
    /// Factor of the update; of no meaning with a mask, which has its own.
    pub scale: f32,
    /// What the update passes through on its way back to what was dropped.
    pub(crate) mask: Option<&'a Draw>,
}

impl<'a> LowRank<'a> {
    /// U·V.
    pub fn new(u: &'a Tensor, v: &'a Tensor) -> LowRank<'a> {
        LowRank {
            u,
            v,
            trans_v: false,
            scale: 1.0,
            mask: None,
        }
    }

    /// Checks all shapes against a C of (m, n).
    pub(super) fn sizes(&self, p: &Product<'_>, [m, n]: [usize; 2]) -> Result<Update> {
        let [_, rank] = self.u.dims2(OP, "low_rank.u")?;
        self.u.expect(OP, "low_rank.u", &[m, rank], DType::F32)?;
        let dims = if self.trans_v { [n, rank] } else { [rank, n] };
        self.v.expect(OP, "low_rank.v", &dims, DType::F32)?;
        if p.alpha != 1.0 || p.trans_c || p.columns_c.is_some() || p.c.dims().len() > 2 {
            let (value, expected) = (
                "a product with alpha, a batch, or C transposed or cut",
                "a plain product beside a low-rank update",
            );
            return Err(Error::argument(OP, "low_rank", value, expected));
        }
        let [up_r, up_col] = if self.trans_v { [1, rank] } else { [n, 1] }.map(|v| v as u32);
        let mut update = Update {
            rank: rank as u32,
            up_r,
            up_col,
            scale: self.scale,
            ..Update::default()
        };
        if let Some(Draw { mask, .. }) = self.mask {
            (update.layer, update.threshold, update.scale) =
                (mask.layer, mask.threshold, mask.scale);
        }
        Ok(update)
    }

    /// Queues the update of what C holds by itself.
    pub(in crate::ops) fn add_to(&self, c: &Tensor) -> Result<()> {
        let through = |c: &Tensor, alpha, accumulate| {
            product(&Product {
                trans_b: self.trans_v,
                alpha,
                accumulate,
                ..Product::new(self.u, self.v, c)
            })
        };
        let Some(draw) = self.mask else {
            return through(c, self.scale, true);
        };
        let update = Tensor::empty(c.gpu(), c.shape().clone(), c.dtype())?;
        through(&update, 1.0, false)?;
        draw.backward(&update, c, true)
    }
}
