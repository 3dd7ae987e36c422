//! Which kernels make a matrix product, with which constants, parameters and grids.
//!
//! Pure arithmetic, no device: [`candidates`](super::choice::candidates) lists the forms worth timing on an adapter, best
//! guess first, and [`plan`] turns one of them into dispatches. Five families:
//!
//! - `matmul_subgroup`: operands are first packed into zero-padded panels (`matmul_pack`), then
//!   one loop of subgroup broadcasts serves every transposition and size.
//! - `matmul_image`: operands are first copied into images. Fastest on CPU adapters, for lines of
//!   whole copies.
//! - `matmul_tile`: register tiles over workgroup memory, operands as they lie. For GPUs.
//! - `matmul_coop`: the same on matrix units, for operands of f16.
//! - `matmul_direct`: operands as they lie, nothing optional. For few rows and tiny products,
//!   and wherever the others do not run.

use super::candidate::Candidate;
use super::image;
use super::panels::{Pack, panels};
use super::sizes::{PlanError, Sizes, Update, check, grid};
use super::vec;
use crate::device::{Lines, MatrixUnits, params};
use crate::kernels::Variant;

/// What a kernel wants an operand to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// As it lies.
    Strided,
    /// Panels, packed by `matmul_pack`.
    Panels(Pack),
    /// An image.
    Image(Lines),
}

/// The dispatches of one product: what makes A and B what is wanted, then `kernel` with the
/// bindings p, a, b, bias, c. Without a bias any storage buffer but C stands in for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What A must be.
    pub a: Wanted,
    /// What B must be.
    pub b: Wanted,
    /// Name of the product's kernel.
    pub kernel: &'static str,
    /// Its variant.
    pub variant: Variant,
    /// The bytes of its parameters.
    pub params: Vec<u8>,
    /// Workgroups.
    pub groups: [u32; 3],
}

/// The dispatches that make `product` in the form `candidate`.
pub fn plan(product: &Sizes, candidate: Candidate) -> Result<Plan, PlanError> {
    check(product)?;
    let p = product;
    let strided = params! {
        m: u32 = p.m,
        n: u32 = p.n,
        k: u32 = p.k,
        ldc: u32 = p.ldc,
        a_row: u32 = p.a.extent,
        a_k: u32 = p.a.k,
        b_k: u32 = p.b.k,
        b_col: u32 = p.b.extent,
        a_batch: u32 = p.a.batch,
        b_batch: u32 = p.b.batch,
        c_batch: u32 = p.c_batch,
        accumulate: u32 = p.accumulate,
        has_bias: u32 = p.has_bias,
        alpha: f32 = p.alpha,
        update: Update = p.update,
    };
    let strided = bytemuck::bytes_of(&strided).to_vec();
    // Operands are panels, as long as they are padded (`kp`), or images.
    let packed = |k: u32, [a_batch, b_batch]: [u32; 2]| {
        let params = params! {
            m: u32 = p.m,
            n: u32 = p.n,
            k: u32,
            ldc: u32 = p.ldc,
            a_batch: u32,
            b_batch: u32,
            c_batch: u32 = p.c_batch,
            accumulate: u32 = p.accumulate,
            has_bias: u32 = p.has_bias,
            alpha: f32 = p.alpha,
            update: Update = p.update,
        };
        bytemuck::bytes_of(&params).to_vec()
    };
    let vec4 = !p.trans_c && [p.n, p.ldc, p.c_batch].iter().all(|v| v % 4 == 0);
    let variant = Variant::new()
        .with("C16", p.half_c)
        .with("TRANS_C", p.trans_c)
        .with("VEC4", vec4);
    let variant = match p.update {
        Update { rank: 0, .. } => variant,
        Update { threshold: 0, .. } => variant.with("LOW_RANK", true),
        Update { .. } => variant.with("LOW_RANK", true).with("MASKED", true),
    };
    let variant = match p.gathered {
        None => variant,
        Some(gathered) => {
            let flag = if gathered.is_a {
                "PICTURE_A"
            } else {
                "PICTURE_B"
            };
            variant.with(flag, true)
        }
    };
    // Panels are f32, whatever was packed; matrix units take nothing but f16.
    let [a16, b16] = p.half;
    let halves = |variant: Variant| variant.with("A16", a16).with("B16", b16);
    let (mut a, mut b) = (Wanted::Strided, Wanted::Strided);
    let (kernel, variant, params, tile) = match candidate {
        Candidate::Subgroup { rows, wg } => {
            let pack_a = panels(p.m, p.k, p.a, p.batch, rows, "A")?;
            let pack_b = panels(p.n, p.k, p.b, p.batch, 4 * wg, "B")?;
            let apart = [pack_a.params.dst_batch, pack_b.params.dst_batch];
            let params = packed(pack_a.params.kp, apart);
            (a, b) = (Wanted::Panels(pack_a), Wanted::Panels(pack_b));
            let variant = variant.with("ROWS", rows).with("WG", wg);
            ("matmul_subgroup", variant, params, [rows, 4 * wg])
        }
        Candidate::Image { rows } => {
            let images = image::operands(p).map_err(|operand| PlanError::NoImage { operand });
            let [image_a, image_b] = images?;
            let params = packed(p.k, [image_a.layers, image_b.layers]);
            (a, b) = (Wanted::Image(image_a.lines), Wanted::Image(image_b.lines));
            let variant = halves(variant)
                .with("TRANS_A", image_a.lines.panels)
                .with("TRANS_B", !image_b.lines.panels)
                .with("ROWS", rows)
                .with("FOLD_A", image_a.lines.fold)
                .with("FOLD_B", image_b.lines.fold);
            ("matmul_image", variant, params, [rows, 64])
        }
        Candidate::Tile { bm, bn } => {
            let variant = halves(variant)
                .with("BM", bm)
                .with("BN", bn)
                .with("THREADS", bm * bn / 64);
            ("matmul_tile", variant, strided, [bm, bn])
        }
        Candidate::Coop(MatrixUnits { size, subgroup }) => {
            let (trans_a, trans_b) = (p.a.k != 1, p.b.extent != 1);
            // Lines of both operands, and what leads from one to the next.
            let [a0, a1] = if trans_a {
                [p.a.k, p.m]
            } else {
                [p.a.extent, p.k]
            };
            let [b0, b1] = if trans_b {
                [p.b.extent, p.k]
            } else {
                [p.b.k, p.n]
            };
            let all = [a0, a1, b0, b1, p.a.batch, p.b.batch];
            let variant = variant
                .with("ALIGNED", all.iter().all(|v| v % 4 == 0))
                .with("MAT16", size == 16)
                .with("TRANS_A", trans_a)
                .with("TRANS_B", trans_b)
                .with("SUBGROUP", subgroup)
                .with("THREADS", 4 * subgroup);
            ("matmul_coop", variant, strided, [8 * size; 2])
        }
        Candidate::Direct { wg } => {
            let variant = halves(variant).with("WG", wg);
            ("matmul_direct", variant, strided, [8, 4 * wg])
        }
        Candidate::Vec { .. } | Candidate::VecSubgroup => {
            let parts = vec::parts(p, candidate, variant).ok_or(PlanError::NoVec)?;
            let (kernel, variant, [rows, lines]) = parts;
            let groups = [p.n.div_ceil(lines), p.m.div_ceil(rows), p.batch];
            return Ok(Plan {
                a,
                b,
                kernel,
                variant,
                params: strided,
                groups: grid(groups.map(u64::from))?,
            });
        }
        // Its parts are products of their own.
        Candidate::Split { .. } => return plan(product, candidate.whole()),
    };
    let count = |extent: u32, by: u32| u64::from(extent.div_ceil(by));
    Ok(Plan {
        a,
        b,
        kernel,
        variant,
        params,
        groups: grid([count(p.m, tile[0]), count(p.n, tile[1]), u64::from(p.batch)])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Value;

    #[test]
    fn what_cannot_be_planned_says_why() {
        let direct = Candidate::Direct { wg: 64 };
        let error = |p: Sizes| plan(&p, direct).expect_err("must fail").to_string();
        assert!(error(Sizes::new(3, 0, 1, false, false)).contains("n is 0"));
        let large = Sizes::new(65_536, 1, 65_536, false, false);
        assert!(error(large).contains("A spans 4294967296 elements"));
        let tall = Sizes::new(8 * 65_536, 1, 1, false, false);
        assert!(error(tall).contains("65536 workgroups on axis x"));
    }

    #[test]
    fn panels_cover_odd_sizes() -> Result<(), PlanError> {
        let product = Sizes::new(65, 3, 257, true, false).batched(2);
        let plan = plan(&product, Candidate::Subgroup { rows: 32, wg: 16 })?;
        let Wanted::Panels(a) = plan.a else {
            panic!("A is not packed");
        };
        assert_eq!((a.params.panels, a.params.kp, a.vec4), (3, 264, false));
        assert_eq!(a.floats, 2 * 3 * 264 * 32);
        assert_eq!(plan.groups, [3, 1, 2]);
        assert_eq!(plan.variant.get("VEC4"), Some(Value::Bool(false)));
        Ok(())
    }
}
