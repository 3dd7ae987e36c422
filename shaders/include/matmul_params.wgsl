// Parameters of the products that read both operands as they lie.
struct Params {
    m: u32,          // rows of C
    n: u32,          // columns of C
    k: u32,          // inner size
    ldc: u32,        // floats from one row of C to the next; TRANS_C: from one column
    a_row: u32,      // floats from one row of A to the next
    a_k: u32,        // floats from one k of A to the next
    b_k: u32,        // floats from one k of B to the next
    b_col: u32,      // floats from one column of B to the next
    a_batch: u32,    // floats from one batch of A to the next
    b_batch: u32,    // floats from one batch of B to the next
    c_batch: u32,    // floats from one batch of C to the next
    accumulate: u32, // 0: overwrite, 1: add
    has_bias: u32,   // 0: bias is not read
    alpha: f32,      // factor of the product
#include "low_rank_params.wgsl"
}

@group(0) @binding(0) var<uniform> p: Params;
