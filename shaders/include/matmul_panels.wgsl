// Parameters, operand A and epilogue of the products over packed panels.
struct Params {
    m: u32,          // rows of C
    n: u32,          // columns of C
    kp: u32,         // inner size, padded to a multiple of 8
    ldc: u32,        // floats from one row of C to the next; TRANS_C: from one column
    a_batch: u32,    // vec4s from one batch of packed A to the next
    b_batch: u32,    // vec4s from one batch of packed B to the next
    c_batch: u32,    // floats from one batch of C to the next
    accumulate: u32, // 0: overwrite, 1: add
    has_bias: u32,   // 0: bias is not read
    alpha: f32,      // factor of the product
#include "low_rank_params.wgsl"
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (batch, ceil(m / ROWS), kp, ROWS): A packed by matmul_pack, width ROWS
#include "matmul_out.wgsl"
