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

#if A16
alias A = f16;
#else
alias A = f32;
#endif
#if B16
alias B = f16;
#else
alias B = f32;
#endif

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<A>; // (batch, m, k) f32 or f16 by strides
@group(0) @binding(2) var<storage, read> b: array<B>; // (batch, k, n) f32 or f16 by strides
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (n) f32, any buffer if has_bias = 0
@group(0) @binding(4) var<storage, read_write> c: array<C>; // (batch, m, ldc) f32 or f16; VEC4: n % 4 = 0
#include "matmul_store.wgsl"
