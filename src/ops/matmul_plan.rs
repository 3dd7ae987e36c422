//! Which kernels make a matrix product, with which constants, parameters and grids.
//!
//! Pure arithmetic, no device: [`candidates`] lists the forms worth timing on an adapter, best
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

pub use super::matmul_choice::candidates;
use super::matmul_image as image;
pub use super::matmul_pack::{Layout, Pack, pack};
pub use super::matmul_params::{PackParams, PackedParams, Params, StridedParams};
use crate::device::{ImageLimits, Lines, MatrixUnits};

/// Largest number of workgroups on one axis that every adapter takes.
pub(super) const MAX_GROUPS: u64 = 65_535;

/// What the product's sum goes through before it is stored; the number is the kernels' `ACT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Activation {
    /// Nothing.
    #[default]
    None = 0,
    /// max(x, 0).
    Relu = 1,
    /// GELU, tanh form.
    Gelu = 2,
    /// tanh.
    Tanh = 3,
    /// Logistic sigmoid.
    Sigmoid = 4,
}

/// C (m, n) (= or +=) act(alpha · A (m, k) · B (k, n) + bias (n)), `batch` times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Inner size.
    pub k: u32,
    /// Number of products.
    pub batch: u32,
    /// How A lies.
    pub a: Layout,
    /// How B lies.
    pub b: Layout,
    /// Floats from one line of C to the next.
    pub ldc: u32,
    /// Whether C's lines in memory are its columns.
    pub trans_c: bool,
    /// Floats from one C of the batch to the next.
    pub c_batch: u32,
    /// Factor of the product.
    pub alpha: f32,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
    /// Whether a bias is bound.
    pub has_bias: bool,
    /// Applied last, before an accumulation.
    pub act: Activation,
    /// Whether A and B hold f16.
    pub half: [bool; 2],
    /// Whether C does.
    pub half_c: bool,
}

impl Product {
    /// One product of contiguous row-major matrices. With `ta`, A is stored as (k, m); with
    /// `tb`, B is stored as (n, k).
    pub fn new(m: u32, n: u32, k: u32, ta: bool, tb: bool) -> Self {
        let layout = |extent, transposed| match transposed {
            true => Layout {
                extent: 1,
                k: extent,
                batch: 0,
            },
            false => Layout {
                extent: k,
                k: 1,
                batch: 0,
            },
        };
        Product {
            m,
            n,
            k,
            batch: 1,
            a: layout(m, ta),
            b: layout(n, !tb),
            ldc: n,
            trans_c: false,
            c_batch: 0,
            alpha: 1.0,
            accumulate: false,
            has_bias: false,
            act: Activation::None,
            half: [false; 2],
            half_c: false,
        }
    }

    /// `batch` products of matrices that follow each other without gaps.
    #[must_use]
    pub fn batched(mut self, batch: u32) -> Self {
        self.batch = batch;
        self.a.batch = self.m.saturating_mul(self.k);
        self.b.batch = self.k.saturating_mul(self.n);
        let lines = if self.trans_c { self.n } else { self.m };
        self.c_batch = lines.saturating_mul(self.ldc);
        self
    }
}

/// What of the adapter matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// A software driver: cores, not compute units.
    pub cpu: bool,
    /// Smallest subgroup size, 0 without the feature.
    pub min_subgroup: u32,
    /// How large images may be.
    pub images: ImageLimits,
    /// Most rows of an invocation in products of images, 0 where those are not made.
    pub image_rows: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Matrix units of f16.
    pub matrix: Option<MatrixUnits>,
}

/// One form of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Candidate {
    /// `matmul_subgroup`: rows per invocation (a multiple of 4), invocations per workgroup.
    Subgroup {
        /// `ROWS`.
        rows: u32,
        /// `WG`.
        wg: u32,
    },
    /// `matmul_image`: rows per invocation (a multiple of 8).
    Image {
        /// `ROWS`.
        rows: u32,
    },
    /// `matmul_tile`: rows and columns of a workgroup's tile.
    Tile {
        /// `BM`.
        bm: u32,
        /// `BN`.
        bn: u32,
    },
    /// `matmul_coop`: f16 alone.
    Coop(MatrixUnits),
    /// Parts of k at once, and their sum: `matmul_tile` or `matmul_coop`, `sum_cols`.
    Split {
        /// How many.
        parts: u32,
        /// What makes them; tiles of 64 by 64 without.
        units: Option<MatrixUnits>,
    },
    /// `matmul_direct`: invocations per workgroup.
    Direct {
        /// `WG`.
        wg: u32,
    },
}

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
    /// Its `#const` values.
    pub consts: Vec<(&'static str, u32)>,
    /// Its flag `VEC4`.
    pub vec4: bool,
    /// Its other flags.
    pub flags: Vec<(&'static str, bool)>,
    /// Its parameters.
    pub params: Params,
    /// Workgroups.
    pub groups: [u32; 3],
}

/// Why a product cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A size of zero.
    #[error("matmul: {axis} is 0; every size must be at least 1")]
    Empty {
        /// m, n, k or batch.
        axis: &'static str,
    },
    /// An operand that 32-bit indices cannot address.
    #[error("matmul: {operand} spans {elements} elements, more than 2^32 - 1; split the product")]
    TooLarge {
        /// A, B or C.
        operand: &'static str,
        /// Elements from its first to its last.
        elements: u64,
    },
    /// An operand that no copy makes an image of.
    #[error("matmul: {operand} cannot be an image: its lines, and k, must be whole texels")]
    NoImage {
        /// A or B.
        operand: &'static str,
    },
    /// A grid no adapter takes.
    #[error("matmul: {groups} workgroups on axis {axis}, at most 65535; split the product")]
    TooManyGroups {
        /// x, y or z.
        axis: &'static str,
        /// Workgroups asked for.
        groups: u64,
    },
}

/// The dispatches that make `product` in the form `candidate`.
pub fn plan(product: &Product, candidate: Candidate) -> Result<Plan, PlanError> {
    check(product)?;
    let p = product;
    let accumulate = u32::from(p.accumulate);
    let has_bias = u32::from(p.has_bias);
    let strided = Params::Strided(StridedParams {
        m: p.m,
        n: p.n,
        k: p.k,
        ldc: p.ldc,
        a_row: p.a.extent,
        a_k: p.a.k,
        b_k: p.b.k,
        b_col: p.b.extent,
        a_batch: p.a.batch,
        b_batch: p.b.batch,
        c_batch: p.c_batch,
        accumulate,
        has_bias,
        alpha: p.alpha,
    });
    let packed = |k: u32, [a_batch, b_batch]: [u32; 2]| {
        Params::Packed(PackedParams {
            m: p.m,
            n: p.n,
            k,
            ldc: p.ldc,
            a_batch,
            b_batch,
            c_batch: p.c_batch,
            accumulate,
            has_bias,
            alpha: p.alpha,
        })
    };
    let act = ("ACT", p.act as u32);
    let (mut a, mut b) = (Wanted::Strided, Wanted::Strided);
    let mut flags = vec![("TRANS_C", p.trans_c)];
    let (kernel, consts, params, tile) = match candidate {
        Candidate::Subgroup { rows, wg } => {
            let pack_a = pack(p.m, p.k, p.a, p.batch, rows, "A")?;
            let pack_b = pack(p.n, p.k, p.b, p.batch, 4 * wg, "B")?;
            let apart = [pack_a.params.dst_batch, pack_b.params.dst_batch];
            let params = packed(pack_a.params.kp, apart);
            (a, b) = (Wanted::Panels(pack_a), Wanted::Panels(pack_b));
            let consts = vec![act, ("ROWS", rows), ("WG", wg)];
            ("matmul_subgroup", consts, params, [rows, 4 * wg])
        }
        Candidate::Image { rows } => {
            let images = image::operands(p).map_err(|operand| PlanError::NoImage { operand });
            let [image_a, image_b] = images?;
            let params = packed(p.k, [image_a.layers, image_b.layers]);
            flags.push(("TRANS_A", image_a.lines.panels));
            flags.push(("TRANS_B", !image_b.lines.panels));
            (a, b) = (Wanted::Image(image_a.lines), Wanted::Image(image_b.lines));
            let consts = vec![
                act,
                ("ROWS", rows),
                ("FOLD_A", image_a.lines.fold),
                ("FOLD_B", image_b.lines.fold),
            ];
            ("matmul_image", consts, params, [rows, 64])
        }
        Candidate::Tile { bm, bn } => {
            let consts = vec![act, ("BM", bm), ("BN", bn), ("THREADS", bm * bn / 64)];
            ("matmul_tile", consts, strided, [bm, bn])
        }
        Candidate::Coop(MatrixUnits { size, subgroup }) => {
            let (trans_a, trans_b) = (p.a.k != 1, p.b.extent != 1);
            // Lines of both operands, and what leads from one to the next.
            let lines_a = if trans_a {
                [p.a.k, p.m]
            } else {
                [p.a.extent, p.k]
            };
            let lines_b = if trans_b {
                [p.b.extent, p.k]
            } else {
                [p.b.k, p.n]
            };
            let [a0, a1] = lines_a;
            let [b0, b1] = lines_b;
            let all = [a0, a1, b0, b1, p.a.batch, p.b.batch];
            flags.extend([
                ("ALIGNED", all.iter().all(|v| v % 4 == 0)),
                ("MAT16", size == 16),
                ("TRANS_A", trans_a),
                ("TRANS_B", trans_b),
            ]);
            let consts = vec![act, ("SUBGROUP", subgroup), ("THREADS", 4 * subgroup)];
            ("matmul_coop", consts, strided, [8 * size; 2])
        }
        Candidate::Direct { wg } => ("matmul_direct", vec![act, ("WG", wg)], strided, [8, 4 * wg]),
        // Its parts are products of their own.
        Candidate::Split { .. } => return plan(product, candidate.whole()),
    };
    let count = |extent: u32, by: u32| u64::from(extent.div_ceil(by));
    Ok(Plan {
        a,
        b,
        kernel,
        consts,
        vec4: !p.trans_c && [p.n, p.ldc, p.c_batch].iter().all(|v| v % 4 == 0),
        flags,
        params,
        groups: grid([count(p.m, tile[0]), count(p.n, tile[1]), u64::from(p.batch)])?,
    })
}

fn check(p: &Product) -> Result<(), PlanError> {
    for (axis, size) in [("m", p.m), ("n", p.n), ("k", p.k), ("batch", p.batch)] {
        if size == 0 {
            return Err(PlanError::Empty { axis });
        }
    }
    let span = |extent: u32, layout: Layout| {
        let along = |count: u32, stride: u32| u64::from(count - 1).saturating_mul(stride.into());
        along(extent, layout.extent)
            .saturating_add(along(p.k, layout.k))
            .saturating_add(along(p.batch, layout.batch))
            .saturating_add(1)
    };
    let [lines, line] = if p.trans_c { [p.n, p.m] } else { [p.m, p.n] };
    let c = u64::from(lines - 1) * u64::from(p.ldc)
        + u64::from(p.batch - 1) * u64::from(p.c_batch)
        + u64::from(line);
    for (operand, elements) in [("A", span(p.m, p.a)), ("B", span(p.n, p.b)), ("C", c)] {
        if u32::try_from(elements).is_err() {
            return Err(PlanError::TooLarge { operand, elements });
        }
    }
    Ok(())
}

pub(super) fn grid(groups: [u64; 3]) -> Result<[u32; 3], PlanError> {
    for (axis, groups) in ["x", "y", "z"].into_iter().zip(groups) {
        if groups > MAX_GROUPS {
            return Err(PlanError::TooManyGroups { axis, groups });
        }
    }
    Ok(groups.map(|g| g as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_planned_says_why() {
        let direct = Candidate::Direct { wg: 64 };
        let error = |p: Product| plan(&p, direct).expect_err("must fail").to_string();
        assert!(error(Product::new(3, 0, 1, false, false)).contains("n is 0"));
        let large = Product::new(65_536, 1, 65_536, false, false);
        assert!(error(large).contains("A spans 4294967296 elements"));
        let tall = Product::new(8 * 65_536, 1, 1, false, false);
        assert!(error(tall).contains("65536 workgroups on axis x"));
    }

    #[test]
    fn panels_cover_odd_sizes() -> Result<(), PlanError> {
        let product = Product::new(65, 3, 257, true, false).batched(2);
        let plan = plan(&product, Candidate::Subgroup { rows: 32, wg: 16 })?;
        let Wanted::Panels(a) = plan.a else {
            panic!("A is not packed");
        };
        assert_eq!((a.params.panels, a.params.kp, a.vec4), (3, 264, false));
        assert_eq!(a.floats, 2 * 3 * 264 * 32);
        assert_eq!((plan.groups, plan.vec4), ([3, 1, 2], false));
        Ok(())
    }
}
