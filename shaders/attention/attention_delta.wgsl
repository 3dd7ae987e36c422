// Sum of do o for each head of each query, which the backward of attention needs.
//
//   delta[b, h, t] = sum_d do[b, t, h, d] o[b, t, h, d]
//   which is sum_s p[s] dp[s] of a softmax over s, with dropout or without
//
// Source: Dao 2023, "FlashAttention-2", algorithm 2, line 4.
// Dispatch: ceil(n / 64) workgroups of 64, folded; an invocation has one query of one head.
// Passes: 1. VEC4: o and do hold four values per element; `width` still counts values. F16: they are f16.
// Numerics: f32, one running sum (four with VEC4). Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    n: u32,       // B T NH
    queries: u32, // T
    heads: u32,   // NH
    width: u32,   // D
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> o: array<Stored>; // (B, T, NH, D): output of attention
@group(0) @binding(2) var<storage, read> dout: array<Stored>; // (B, T, NH, D): upstream gradient
@group(0) @binding(3) var<storage, read_write> stats: array<f32>; // (B, NH, T, 2): delta, the second of two

@compute @workgroup_size(64)
fn attention_delta(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    if i < p.n {
#if VEC4
        let elements = p.width / 4u;
#else
        let elements = p.width;
#endif
        var sum = Real();
        for (var d = 0u; d < elements; d++) {
            sum = fma(Real(o[i * elements + d]), Real(dout[i * elements + d]), sum);
        }
        let row = i / p.heads;
        let sequence = row / p.queries * p.heads + i % p.heads;
#if VEC4
        let delta = (sum.x + sum.y) + (sum.z + sum.w);
#else
        let delta = sum;
#endif
        stats[2u * (sequence * p.queries + row % p.queries) + 1u] = delta;
    }
}
