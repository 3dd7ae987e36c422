//! What a product is before a form is chosen: sizes, layouts, and what of the adapter matters.

use crate::device::{ImageLimits, MatrixUnits};
use crate::kernels::grid::MAX_GROUPS;

/// How one operand lies in memory, seen as (extent, k): rows of A or columns of B, by inner size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Floats from one row of A (column of B) to the next.
    pub extent: u32,
    /// Floats from one k to the next.
    pub k: u32,
    /// Floats from one batch to the next; 0 shares the operand between all batches.
    pub batch: u32,
}

/// A low-rank update of C, as kernels take it (`low_rank_params.wgsl`); all 0 without one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Update {
    /// Inner size of the update, 0 without one.
    pub rank: u32,
    /// Floats from one of the rank to the next in V.
    pub up_r: u32,
    /// Floats from one column of V to the next.
    pub up_col: u32,
    /// Values of the whole C before this one's first.
    pub first: u32,
    /// The mask's stream.
    pub layer: u32,
    /// The mask's threshold, 0 without a mask.
    pub threshold: u32,
    /// Factor of the update or of what the mask keeps.
    pub scale: f32,
}

/// C (m, n) (= or +=) alpha · A (m, k) · B (k, n) + bias (n), `batch` times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
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
    /// Whether A and B hold f16.
    pub half: [bool; 2],
    /// Whether C does.
    pub half_c: bool,
    /// What B is packed in, as the kernels number it.
    pub blocks: Option<u32>,
    /// What is added to C in the same pass.
    pub update: Update,
    /// Of which operand the rows are gathered pixels.
    pub gathered: Option<Gathered>,
}

/// An operand that is never stored: its rows are the taps of windows over pictures, whose pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// A, each row of which is gathered; or B, of which each row (each k) is.
    pub is_a: bool,
    /// Pixels, over all pictures.
    pub pixels: u32,
    /// Numbers of a pixel.
    pub channels: u32,
}

impl Sizes {
    /// One product of contiguous row-major matrices. With `ta`, A is stored as (k, m); with
    /// `tb`, B is stored as (n, k).
    pub fn new(m: u32, n: u32, k: u32, ta: bool, tb: bool) -> Self {
        let layout = |lines, transposed| {
            let (extent, k) = if transposed { (1, lines) } else { (k, 1) };
            let batch = 0;
            Layout { extent, k, batch }
        };
        Sizes {
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
            half: [false; 2],
            half_c: false,
            blocks: None,
            update: Update::default(),
            gathered: None,
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
pub struct Hardware {
    /// A software driver: cores, not compute units.
    pub cpu: bool,
    /// Whether kernels by subgroup broadcast run.
    pub broadcasts: bool,
    /// Whether kernels by register tiles run.
    pub tiles: bool,
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
    /// Operands whose lines are not along k.
    #[error("matmul: lines of A and B must run along k, in whole fours or blocks")]
    NoVec,
    /// A grid no adapter takes.
    #[error("matmul: {groups} workgroups on axis {axis}, at most 65535; split the product")]
    TooManyGroups {
        /// x, y or z.
        axis: &'static str,
        /// Workgroups asked for.
        groups: u64,
    },
}

pub(super) fn check(p: &Sizes) -> Result<(), PlanError> {
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
