//! Products of few rows with a matrix whose lines run along k: which are such, and the constants of
//! their kernels, `matmul_vec` and `matmul_vec_subgroup`.

use super::candidate::Candidate;
use super::sizes::{Layout, Sizes};
use crate::device::Caps;
use crate::kernels::Variant;

/// Most rows: more are made faster by what reuses B's.
const MOST: u32 = 8;
/// Lines of B that a workgroup of `matmul_vec` takes.
const LINES: u32 = 8;
/// The same of `matmul_vec_subgroup`.
const LINES_SUBGROUP: u32 = 32;
/// The kinds of blocks that hold 32 numbers.
const OF_32: u32 = 5;

/// `matmul_vec`, where it can make the product.
pub(super) fn form(p: &Sizes, cpu: bool) -> Option<Candidate> {
    // A workgroup is a subgroup of most adapters; a CPU's has eight lanes.
    let wg = if cpu { 8 } else { 32 };
    (p.m <= MOST && suits(p)).then_some(Candidate::Vec { wg })
}

/// The form for a packed B.
pub(super) fn packed_form(p: &Sizes, caps: &Caps) -> Option<Candidate> {
    let plain = form(p, caps.is_cpu)?;
    let by_lanes = caps.is_cpu && caps.broadcasts() && suits_lanes(p);
    Some(if by_lanes {
        Candidate::VecSubgroup
    } else {
        plain
    })
}

/// Whether both operands have their lines along k, in whole fours or blocks.
fn suits(p: &Sizes) -> bool {
    let fours = |layout: Layout| {
        let apart = [layout.extent, layout.batch];
        layout.k == 1 && apart.iter().all(|apart| apart.is_multiple_of(4))
    };
    let piece = if p.blocks.is_some() { 32 } else { 4 };
    let whole = p.b.extent == p.k && p.b.batch == 0;
    fours(p.a) && fours(p.b) && p.k.is_multiple_of(piece) && (p.blocks.is_none() || whole)
}

fn suits_lanes(p: &Sizes) -> bool {
    suits(p) && p.batch == 1 && p.blocks.is_some_and(|kind| kind < OF_32)
}

/// Kernel, variant, and the lines of C and B that a workgroup takes, of a product in one of the two forms;
/// `variant` says what is known of C.
pub(super) fn parts(
    p: &Sizes,
    form: Candidate,
    variant: Variant,
) -> Option<(&'static str, Variant, [u32; 2])> {
    // Rows at a time: a few more than there are cost less than reading B again.
    let rows = p.m.next_power_of_two().min(4);
    let variant = variant.with("M", rows).with("A16", p.half[0]);
    match (form, p.blocks) {
        (Candidate::VecSubgroup, Some(kind)) if suits_lanes(p) => {
            let variant = variant.with("KIND", kind);
            Some(("matmul_vec_subgroup", variant, [rows, LINES_SUBGROUP]))
        }
        (Candidate::Vec { wg }, blocks) if suits(p) => {
            let variant = variant.with("WG", wg).with("ROWS", LINES);
            let variant = match blocks {
                Some(kind) => variant.with("BLOCKS", true).with("KIND", kind),
                None => variant.with("B16", p.half[1]),
            };
            Some(("matmul_vec", variant, [rows, LINES]))
        }
        _ => None,
    }
}
