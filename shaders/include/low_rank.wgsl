// The low-rank update that a product adds to its sums: scale U V, or with MASKED the mask of dropout times
// U V. U and V are f32 whatever A, B and C hold. (Hu et al. 2021, equation 3, and its way back.)
@group(0) @binding(5) var<storage, read> low: array<f32>; // (m, rank): U
@group(0) @binding(6) var<storage, read> up: array<f32>; // (rank, n) by strides: V
#if MASKED
#include "dropout.wgsl"
@group(0) @binding(7) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
#endif

// V at r, columns col .. col + 4; zero beyond the rank.
fn up_at(r: u32, col: u32) -> vec4<f32> {
    let last = p.n - 1u;
    let at = min(r, p.rank - 1u) * p.up_r;
    let v = vec4<f32>(up[at + min(col, last) * p.up_col], up[at + min(col + 1u, last) * p.up_col],
                      up[at + min(col + 2u, last) * p.up_col], up[at + min(col + 3u, last) * p.up_col]);
    return select(vec4<f32>(0.0), v, r < p.rank);
}

// U at a row; beyond the rank what V's zeros are multiplied by.
fn low_at(row: u32, r: u32) -> f32 {
    return low[min(row, p.m - 1u) * p.rank + min(r, p.rank - 1u)];
}

// What is added to C for columns col .. col + 4 of a row's U V.
fn update_of(row: u32, col: u32, product: vec4<f32>) -> vec4<f32> {
#if MASKED
    return product * dropout_factors(p.first + row * p.n + col);
#else
    return p.scale * product;
#endif
}
