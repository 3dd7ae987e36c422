//! The uniforms of the matrix product kernels, field for field what the shaders say.

use bytemuck::{Pod, Zeroable};

/// `Params` of `matmul_pack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
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

/// `Params` of `matmul_subgroup` and `matmul_image`, whose operands are panels or images.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)] // named as in the shaders
pub struct PackedParams {
    pub m: u32,
    pub n: u32,
    /// As panels are padded (`kp`), or as it is, of images.
    pub k: u32,
    pub ldc: u32,
    pub a_batch: u32,
    pub b_batch: u32,
    pub c_batch: u32,
    pub accumulate: u32,
    pub has_bias: u32,
    pub alpha: f32,
}

/// `Params` of `matmul_tile` and `matmul_direct`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[allow(missing_docs)] // named as in the shader
pub struct StridedParams {
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub ldc: u32,
    pub a_row: u32,
    pub a_k: u32,
    pub b_k: u32,
    pub b_col: u32,
    pub a_batch: u32,
    pub b_batch: u32,
    pub c_batch: u32,
    pub accumulate: u32,
    pub has_bias: u32,
    pub alpha: f32,
}
