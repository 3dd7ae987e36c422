// Matrix product over packed panels, by subgroup broadcast.
//
//   C (= or +=) alpha * A B + bias, with LOW_RANK (alpha 1) + scale * U V, or mask * U V
//
// Source: definition; the panels are those of Goto and van de Geijn 2008, section 4.
// Dispatch: (ceil(m / ROWS), ceil(n / (4 WG)), batch) workgroups of WG; one invocation makes
// ROWS rows by 4 columns, in subgroups of 8 lanes or more. Consecutive workgroups share a panel of B,
// which stays in the cache while panels of A pass by.
// Passes: 1, after matmul_pack of A (width ROWS) and of B (width 4 * WG). The packing
// transposes and pads with zeros, so that this one loop serves NN, NT, TN and every size.
// A step takes 8 values of k: each lane loads four rows of A at one k and the subgroup shares
// them by broadcast, so an element of A is loaded once per subgroup and not once per lane.
// Numerics: f32, one running sum per element in the order of k.
// Limits: subgroups of 8 lanes or more; 4 storage buffers, LOW_RANK: 6, MASKED: 7; no workgroup memory.
#const ROWS: u32 // rows of an invocation, a multiple of 4
#const WG: u32 // invocations of a workgroup

#include "subgroup.wgsl"
#include "matmul_panels.wgsl"
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (batch, ceil(n / (4 WG)), kp, 4 WG): B packed by matmul_pack, width 4 WG
#if LOW_RANK
#include "low_rank_lanes.wgsl"
#endif

const GROUPS: u32 = ROWS / 4u;

@compute @workgroup_size(WG)
fn matmul_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    // Loops over acc have a constant count equal to its length: drivers unroll only such loops.
    var acc = array<array<vec4<f32>, 4>, GROUPS>();
    var ai = wid.z * p.a_batch + wid.x * p.kp * GROUPS + (lane & 7u) * GROUPS;
    var bi = wid.z * p.b_batch + wid.y * p.kp * WG + lid;
    for (var k = 0u; k < p.kp; k += 8u) {
        let b0 = b[bi];
        let b1 = b[bi + WG];
        let b2 = b[bi + 2u * WG];
        let b3 = b[bi + 3u * WG];
        let b4 = b[bi + 4u * WG];
        let b5 = b[bi + 5u * WG];
        let b6 = b[bi + 6u * WG];
        let b7 = b[bi + 7u * WG];
        for (var g = 0u; g < GROUPS; g++) {
            let rows = a[ai + g];
            var s = array<vec4<f32>, 4>();
            s[0] = acc[g][0];
            s[1] = acc[g][1];
            s[2] = acc[g][2];
            s[3] = acc[g][3];
            for (var r = 0u; r < 4u; r++) {
                let x = rows[r];
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 0u)), b0, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 1u)), b1, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 2u)), b2, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 3u)), b3, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 4u)), b4, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 5u)), b5, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 6u)), b6, s[r]);
                s[r] = fma(vec4<f32>(subgroupBroadcast(x, 7u)), b7, s[r]);
            }
            acc[g] = s;
        }
        ai += 8u * GROUPS;
        bi += 8u * WG;
    }
    let row = wid.x * ROWS;
    let col = (wid.y * WG + lid) * 4u;
#if LOW_RANK
    for (var r = 0u; r < p.rank; r += 8u) {
        let v = up_eight(r, col);
        for (var g = 0u; g < GROUPS; g++) {
            for (var i = 0u; i < 4u; i++) {
                let at = row + 4u * g + i;
                let u = low_eight(low_at(at, r + (lane & 7u)));
                acc[g][i] += update_eight(at, col, u, v);
            }
        }
    }
#endif
    let shift = bias_at(col);
    let sound = soundness(lanes);
    for (var g = 0u; g < GROUPS; g++) {
        store(wid.z, row + 4u * g, col, sound * acc[g][0], shift);
        store(wid.z, row + 4u * g + 1u, col, sound * acc[g][1], shift);
        store(wid.z, row + 4u * g + 2u, col, sound * acc[g][2], shift);
        store(wid.z, row + 4u * g + 3u, col, sound * acc[g][3], shift);
    }
}
