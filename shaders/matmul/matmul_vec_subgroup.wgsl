// Product of few rows with a packed matrix, a line of it a lane, by subgroup broadcast.
//
//   C (= or +=) alpha * A Bt + bias, with LOW_RANK (alpha 1) + scale * U V, or mask * U V
//
// For drivers that run on a CPU, which load from a buffer lane by lane: sixteen bytes cost little more than
// four. A lane reads 128 numbers of its lines at once, from wherever they begin, and shares what it has
// read of A with the others. No sums are left to add up.
// Source: definition; how blocks lie: blocks.wgsl.
// Dispatch: (ceil(n / 32), ceil(m / M), 1) workgroups of 8; an invocation makes M rows by four neighbouring
// columns.
// Passes: 1. Numerics: f32; a block's numbers are summed first, its scale multiplies their sum.
// Limits: 4 storage buffers, LOW_RANK: 6, MASKED: 7; subgroups of 8 lanes or more; k and what leads from row to row of A are
// multiples of 32; blocks of 32 numbers (KIND 0 to 4); B without gaps.
#const M: u32    // rows of A and C

#include "matmul_params.wgsl"

#if A16
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>; // (m, k): left operand, four numbers an element
#else
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (m, k): left operand, four numbers an element
#endif
@group(0) @binding(2) var<storage, read> b: array<vec4<u32>>; // (n, k) in blocks: right operand, sixteen bytes an element
#include "subgroup.wgsl"
#include "matmul_out.wgsl"
#if LOW_RANK
#include "low_rank_block.wgsl"
#endif
#include "blocks_step.wgsl"

// What eight lanes hold, lane by lane.
fn all_of(own: vec4<f32>) -> array<vec4<f32>, 8> {
    return array<vec4<f32>, 8>(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u),
        subgroupBroadcast(own, 4u),
        subgroupBroadcast(own, 5u),
        subgroupBroadcast(own, 6u),
        subgroupBroadcast(own, 7u),
    );
}

@compute @workgroup_size(8)
fn matmul_vec_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let col = wid.x * 32u + lid * 4u;
    let row = wid.y * M;
    var acc = array<array<f32, 4>, M>();
    for (var k = 0u; k < p.k; k += 128u) {
        // A's rows at four blocks, beyond k zeros; and the sums that a block's shift is a factor of.
        var x = array<array<array<vec4<f32>, 8>, 4>, M>();
        var shifted = array<vec4<f32>, M>();
        for (var i = 0u; i < M; i++) {
            // Rows and columns that do not exist read the last one that does; nothing is stored.
            let line = min(row + i, p.m - 1u) * p.a_row;
            for (var t = 0u; t < 4u; t++) {
                let at = k + 32u * t + 4u * (lane & 7u);
                let own = vec4<f32>(a[(line + min(at, p.k - 4u)) / 4u]);
                let all = all_of(select(vec4<f32>(0.0), own, at < p.k));
                let sum = ((all[0] + all[1]) + (all[2] + all[3])) + ((all[4] + all[5]) + (all[6] + all[7]));
                x[i][t] = all;
                shifted[i][t] = (sum.x + sum.y) + (sum.z + sum.w);
            }
        }
        for (var r = 0u; r < 4u; r++) {
            var step = step_of((min(col + r, p.n - 1u) * (p.k / 32u) + k / 32u) * BLOCK);
            for (var t = 0u; t < 4u; t++) {
                let scales = step_scales(&step, t);
                var q = step_quants(&step, t);
                for (var i = 0u; i < M; i++) {
                    var sum = 0.0;
                    for (var l = 0u; l < 8u; l++) {
                        let v = x[i][t][l];
                        sum = fma(q[l].w, v.w, fma(q[l].z, v.z, fma(q[l].y, v.y, fma(q[l].x, v.x, sum))));
                    }
                    acc[i][r] += fma(scales.x, sum, scales.y * shifted[i][t]);
                }
            }
        }
    }
    let shift = bias_at(col);
    let sound = soundness(lanes);
    for (var i = 0u; i < M; i++) {
        var sum = vec4<f32>(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
#if LOW_RANK
        sum += update_at(row + i, col);
#endif
        store(0u, row + i, col, sound * sum, shift);
    }
}
