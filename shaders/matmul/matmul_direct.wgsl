// Matrix product from operands as they lie, without packing, workgroup memory or subgroups.
//
//   C (= or +=) alpha * A B + bias, with LOW_RANK (alpha 1) + scale * U V, or mask * U V
//
// The portable form, and the one for few rows or tiny sizes, where packing would cost more
// than the product. Strides say how A and B lie, which covers every transposition.
// Source: definition.
// Dispatch: (ceil(m / 8), ceil(n / (4 WG)), batch) workgroups of WG; one invocation makes
// 8 rows by 4 neighbouring columns.
// Passes: 1. Numerics: f32, one running sum per element in the order of k.
// Limits: 4 storage buffers, LOW_RANK: 6, MASKED: 7; no workgroup memory.
#const WG: u32 // invocations of a workgroup

#include "matmul_strided.wgsl"
#if LOW_RANK
#include "low_rank_block.wgsl"
#endif

@compute @workgroup_size(WG)
fn matmul_direct(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = wid.x * 8u;
    let col = (wid.y * WG + lid) * 4u;
    if col < p.n {
        // Rows and columns that do not exist read the last one that does; nothing is stored.
        let a0 = wid.z * p.a_batch;
        let b0 = wid.z * p.b_batch;
        var ai = array<u32, 8>();
        for (var r = 0u; r < 8u; r++) {
            ai[r] = a0 + min(row + r, p.m - 1u) * p.a_row;
        }
        var bi = b0 + vec4<u32>(col, min(col + 1u, p.n - 1u), min(col + 2u, p.n - 1u),
                                min(col + 3u, p.n - 1u)) * p.b_col;
        var acc = array<vec4<f32>, 8>();
        for (var k = 0u; k < p.k; k++) {
            let y = vec4<f32>(vec4(b[bi.x], b[bi.y], b[bi.z], b[bi.w]));
            let at = k * p.a_k;
            for (var r = 0u; r < 8u; r++) {
                acc[r] = fma(vec4<f32>(f32(a[ai[r] + at])), y, acc[r]);
            }
            bi += vec4<u32>(p.b_k);
        }
#if LOW_RANK
        for (var r = 0u; r < p.rank; r += 4u) {
            let v = up_block(r, col);
            for (var i = 0u; i < 8u; i++) {
                acc[i] += update_block(row + i, col, low_block(row + i, r), v);
            }
        }
#endif
        let shift = bias_at(col);
        for (var r = 0u; r < 8u; r++) {
            store(wid.z, row + r, col, acc[r], shift);
        }
    }
}
