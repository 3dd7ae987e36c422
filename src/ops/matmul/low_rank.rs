//! The low-rank update that a product adds to its sums, so that nothing passes over C again.

use super::sizes::Update;
use crate::error::Result;
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
    pub(super) fn sizes(&self, op: &'static str, [m, n]: [usize; 2]) -> Result<Update> {
        let [_, rank] = self.u.dims2(op, "low_rank.u")?;
        self.u.expect(op, "low_rank.u", &[m, rank], DType::F32)?;
        let dims = if self.trans_v { [n, rank] } else { [rank, n] };
        self.v.expect(op, "low_rank.v", &dims, DType::F32)?;
        let [up_r, up_col] = if self.trans_v { [1, rank] } else { [n, 1] }.map(|v| v as u32);
        let update = Update {
            rank: rank as u32,
            up_r,
            up_col,
            scale: self.scale,
            ..Update::default()
        };
        Ok(match self.mask {
            None => update,
            Some(Draw { mask, .. }) => Update {
                layer: mask.layer,
                threshold: mask.threshold,
                scale: mask.scale,
                ..update
            },
        })
    }
}
