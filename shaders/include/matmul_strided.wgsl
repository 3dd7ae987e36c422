// Parameters and bindings of the products that read both operands as they lie, and the epilogue.
struct Params {
    m: u32,          // rows of C
    n: u32,          // columns of C
    k: u32,          // inner size
    ldc: u32,        // row stride of C
    a_row: u32,      // floats from one row of A to the next
    a_k: u32,        // floats from one k of A to the next
    b_k: u32,        // floats from one k of B to the next
    b_col: u32,      // floats from one column of B to the next
    a_batch: u32,    // floats from one batch of A to the next
    b_batch: u32,    // the same of B
    c_batch: u32,    // the same of C
    accumulate: u32, // 0: overwrite, 1: add
    has_bias: u32,   // 0: bias is not read
    alpha: f32,      // factor of the product
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // (batch, m, k) f32 by strides
@group(0) @binding(2) var<storage, read> b: array<f32>; // (batch, k, n) f32 by strides
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (n) f32, any buffer if has_bias = 0
#if VEC4
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>; // (batch, m, ldc) f32, n % 4 = 0
#else
@group(0) @binding(4) var<storage, read_write> c: array<f32>; // (batch, m, ldc) f32
#endif
#include "matmul_store.wgsl"
