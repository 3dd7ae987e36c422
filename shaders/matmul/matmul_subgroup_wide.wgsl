// Matrix product over packed panels, by subgroup broadcast, with B loaded two floats at a time.
//
//   C (= or +=) act(alpha * A B + bias)
//
// As matmul_subgroup, for drivers whose loads cost by element and lane, as on a CPU: a u64 brings
// two neighbouring columns of B for little more than the price of one, which makes 8 columns an
// invocation worth while, and every broadcast of A then serves 8 of them.
// Source: definition; the panels are those of Goto and van de Geijn 2008, section 4.
// Dispatch: (ceil(m / ROWS), ceil(n / (8 * WG)), batch) workgroups of WG. Consecutive
// workgroups share a panel of B, which stays in the cache while panels of A pass by.
// Passes: 1, after matmul_pack of A (width ROWS) and of B (width 8 * WG).
// Numerics: f32, one running sum per element in the order of k.
// Limits: 64-bit integers; subgroups of 8 lanes or more; 4 storage buffers; no workgroup memory.
#const ROWS: u32
#const WG: u32

#include "matmul_panels.wgsl"
@group(0) @binding(2) var<storage, read> b: array<vec4<u64>>; // (batch, ceil(n / 8 WG), kp, 8 WG) f32

const GROUPS: u32 = ROWS / 4u;

// Columns 0, 2, 4, 6 and 1, 3, 5, 7 of eight: memory is little-endian.
fn even(x: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(x));
}

fn odd(x: vec4<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(x >> vec4<u32>(32u)));
}

@compute @workgroup_size(WG)
fn matmul_subgroup_wide(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // Loops over the sums have a constant count equal to their length: drivers unroll exactly those.
    var evens: array<array<vec4<f32>, 4>, GROUPS>;
    var odds: array<array<vec4<f32>, 4>, GROUPS>;
    var ai = wid.z * p.a_batch + wid.x * p.kp * GROUPS + (lane & 7u) * GROUPS;
    var bi = wid.z * (p.b_batch / 2u) + wid.y * p.kp * WG + lid;
    for (var k = 0u; k < p.kp; k += 8u) {
        let b0 = b[bi];
        let b1 = b[bi + WG];
        let b2 = b[bi + 2u * WG];
        let b3 = b[bi + 3u * WG];
        let b4 = b[bi + 4u * WG];
        let b5 = b[bi + 5u * WG];
        let b6 = b[bi + 6u * WG];
        let b7 = b[bi + 7u * WG];
        let e = array<vec4<f32>, 8>(even(b0), even(b1), even(b2), even(b3),
                                    even(b4), even(b5), even(b6), even(b7));
        let o = array<vec4<f32>, 8>(odd(b0), odd(b1), odd(b2), odd(b3),
                                    odd(b4), odd(b5), odd(b6), odd(b7));
        for (var g = 0u; g < GROUPS; g++) {
            let rows = a[ai + g];
            var s = evens[g];
            var t = odds[g];
            for (var r = 0u; r < 4u; r++) {
                let x = rows[r];
                let x0 = vec4<f32>(subgroupBroadcast(x, 0u));
                s[r] = fma(x0, e[0], s[r]);
                t[r] = fma(x0, o[0], t[r]);
                let x1 = vec4<f32>(subgroupBroadcast(x, 1u));
                s[r] = fma(x1, e[1], s[r]);
                t[r] = fma(x1, o[1], t[r]);
                let x2 = vec4<f32>(subgroupBroadcast(x, 2u));
                s[r] = fma(x2, e[2], s[r]);
                t[r] = fma(x2, o[2], t[r]);
                let x3 = vec4<f32>(subgroupBroadcast(x, 3u));
                s[r] = fma(x3, e[3], s[r]);
                t[r] = fma(x3, o[3], t[r]);
                let x4 = vec4<f32>(subgroupBroadcast(x, 4u));
                s[r] = fma(x4, e[4], s[r]);
                t[r] = fma(x4, o[4], t[r]);
                let x5 = vec4<f32>(subgroupBroadcast(x, 5u));
                s[r] = fma(x5, e[5], s[r]);
                t[r] = fma(x5, o[5], t[r]);
                let x6 = vec4<f32>(subgroupBroadcast(x, 6u));
                s[r] = fma(x6, e[6], s[r]);
                t[r] = fma(x6, o[6], t[r]);
                let x7 = vec4<f32>(subgroupBroadcast(x, 7u));
                s[r] = fma(x7, e[7], s[r]);
                t[r] = fma(x7, o[7], t[r]);
            }
            evens[g] = s;
            odds[g] = t;
        }
        ai += 8u * GROUPS;
        bi += 8u * WG;
    }
    let row = wid.x * ROWS;
    let col = (wid.y * WG + lid) * 8u;
    let near = bias_at(col);
    let far = bias_at(col + 4u);
    for (var g = 0u; g < GROUPS; g++) {
        for (var r = 0u; r < 4u; r++) {
            let s = evens[g][r];
            let t = odds[g][r];
            store(wid.z, row + 4u * g + r, col, vec4<f32>(s.x, t.x, s.y, t.y), near);
            store(wid.z, row + 4u * g + r, col + 4u, vec4<f32>(s.z, t.z, s.w, t.w), far);
        }
    }
}
