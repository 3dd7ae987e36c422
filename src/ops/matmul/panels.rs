//! How the operand of a product comes into panels.

use super::sizes::{Layout, PlanError, grid};
use crate::kernels::grid::MAX_GROUPS;

/// Invocations of `matmul_pack`.
const PACK_THREADS: u64 = 64;
/// Steps of k the subgroup kernels take at once; panels are padded to it.
const K_STEP: u32 = 8;

/// `Params` of `matmul_pack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
#[allow(missing_docs)] // named as in the shader
pub struct PackParams {
    pub extent: u32,
    pub k: u32,
    pub kp: u32,
    pub width: u32,
    pub panels: u32,
    pub stride_e: u32,
    pub stride_k: u32,
    pub src_batch: u32,
    pub dst_batch: u32,
}

/// One dispatch of `matmul_pack`: bindings p, src, dst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pack {
    /// Its parameters.
    pub params: PackParams,
    /// Its flag `VEC4`.
    pub vec4: bool,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Floats of the packed operand, over all batches.
    pub floats: u64,
}

/// How one operand is packed into panels of `width`; usable alone for weights packed once.
pub fn panels(
    extent: u32,
    k: u32,
    layout: Layout,
    batch: u32,
    width: u32,
    operand: &'static str,
) -> Result<Pack, PlanError> {
    let kp = k.next_multiple_of(K_STEP);
    let panels = extent.div_ceil(width);
    let one = u64::from(panels) * u64::from(kp) * u64::from(width);
    // A shared operand is packed once.
    let copies = u64::from(if layout.batch == 0 { 1 } else { batch });
    let floats = one * copies;
    if u32::try_from(floats).is_err() {
        return Err(PlanError::TooLarge {
            operand,
            elements: floats,
        });
    }
    // The contiguous axis, the other stride and the batches.
    let vec4 = match layout {
        Layout {
            extent: 1, k: ld, ..
        } => [extent, ld, layout.batch],
        Layout {
            extent: ld, k: 1, ..
        } => [k, ld, layout.batch],
        _ => [1; 3],
    }
    .iter()
    .all(|v| v % 4 == 0);
    let blocks = (one / 16).div_ceil(PACK_THREADS);
    let rows = blocks.div_ceil(MAX_GROUPS);
    Ok(Pack {
        params: PackParams {
            extent,
            k,
            kp,
            width,
            panels,
            stride_e: layout.extent,
            stride_k: layout.k,
            src_batch: layout.batch,
            dst_batch: if copies == 1 { 0 } else { (one / 4) as u32 },
        },
        vec4,
        groups: grid([blocks.div_ceil(rows), rows, copies])?,
        floats,
    })
}
