//! The forms of a product: which kernel makes it, with which constants.

use std::fmt;

use crate::device::{MatrixUnits, Rung};

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
    /// `matmul_vec`: invocations per workgroup. For few rows.
    Vec {
        /// `WG`.
        wg: u32,
    },
    /// `matmul_vec_subgroup`: for few rows and blocks of 32 numbers, on a CPU.
    VecSubgroup,
}

impl Candidate {
    /// The rung that its kernel is of.
    pub(super) fn rung(self) -> Rung {
        match self {
            Candidate::Direct { .. } | Candidate::Vec { .. } => Rung::Portable,
            Candidate::Subgroup { .. } | Candidate::VecSubgroup => Rung::Subgroup,
            Candidate::Image { .. } => Rung::Image,
            Candidate::Tile { .. } => Rung::Tile,
            Candidate::Coop(_) | Candidate::Split { units: Some(_), .. } => Rung::Matrix,
            Candidate::Split { units: None, .. } => Rung::Tile,
        }
    }

    /// Whether its kernel adds low-rank updates; matrix units do not, and parts of k have no last one.
    pub(super) fn adds_updates(self) -> bool {
        !matches!(self, Candidate::Coop(_) | Candidate::Split { .. })
    }

    /// What its parts are made by, if it has those; else itself.
    #[must_use]
    pub fn whole(self) -> Candidate {
        match self {
            Candidate::Split { units, .. } => {
                units.map_or(Candidate::Tile { bm: 64, bn: 64 }, Candidate::Coop)
            }
            whole => whole,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Candidate::Direct { wg } => write!(f, "direct wg {wg}"),
            Candidate::Vec { wg } => write!(f, "vec wg {wg}"),
            Candidate::VecSubgroup => write!(f, "vec subgroup"),
            Candidate::Subgroup { rows, wg } => write!(f, "subgroup rows {rows} wg {wg}"),
            Candidate::Image { rows } => write!(f, "image rows {rows}"),
            Candidate::Tile { bm, bn } => write!(f, "tile {bm} x {bn}"),
            Candidate::Coop(units) => write!(f, "matrix {0} x {0}", units.size),
            Candidate::Split { parts, .. } => write!(f, "{}, k in {parts}", self.whole()),
        }
    }
}
