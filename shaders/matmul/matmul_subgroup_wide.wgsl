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
// A step takes 4 values of k: four lanes load rows 0 to 3 of eight at one k each, the other four
// rows 4 to 7. Shorter steps leave room for more rows in the cache of instructions.
// Numerics: f32, one running sum per element in the order of k.
// Limits: 64-bit integers; subgroups of 8 lanes or more; 4 storage buffers; no workgroup memory.
#const ROWS: u32
#const WG: u32

#include "matmul_panels.wgsl"
@group(0) @binding(2) var<storage, read> b: array<vec4<u64>>; // (batch, ceil(n / 8 WG), kp, 8 WG) f32

const EIGHTS: u32 = ROWS / 8u;

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
    // Even and odd columns of rows 0 to 3 (a) and 4 to 7 (b) of every eight. Loops over them have a
    // constant count equal to their length: drivers unroll exactly those.
    var even_a: array<array<vec4<f32>, 4>, EIGHTS>;
    var odd_a: array<array<vec4<f32>, 4>, EIGHTS>;
    var even_b: array<array<vec4<f32>, 4>, EIGHTS>;
    var odd_b: array<array<vec4<f32>, 4>, EIGHTS>;
    var ai = wid.z * p.a_batch
        + 2u * EIGHTS * (wid.x * p.kp + (lane & 3u)) + ((lane >> 2u) & 1u);
    var bi = wid.z * (p.b_batch / 2u) + wid.y * p.kp * WG + lid;
    for (var k = 0u; k < p.kp; k += 4u) {
        let b0 = b[bi];
        let b1 = b[bi + WG];
        let b2 = b[bi + 2u * WG];
        let b3 = b[bi + 3u * WG];
        let e0 = even(b0);
        let e1 = even(b1);
        let e2 = even(b2);
        let e3 = even(b3);
        let o0 = odd(b0);
        let o1 = odd(b1);
        let o2 = odd(b2);
        let o3 = odd(b3);
        for (var g = 0u; g < EIGHTS; g++) {
            let rows = a[ai + 2u * g];
            var s = even_a[g];
            var t = odd_a[g];
            for (var r = 0u; r < 4u; r++) {
                let x = rows[r];
                let x0 = vec4<f32>(subgroupBroadcast(x, 0u));
                s[r] = fma(x0, e0, s[r]);
                t[r] = fma(x0, o0, t[r]);
                let x1 = vec4<f32>(subgroupBroadcast(x, 1u));
                s[r] = fma(x1, e1, s[r]);
                t[r] = fma(x1, o1, t[r]);
                let x2 = vec4<f32>(subgroupBroadcast(x, 2u));
                s[r] = fma(x2, e2, s[r]);
                t[r] = fma(x2, o2, t[r]);
                let x3 = vec4<f32>(subgroupBroadcast(x, 3u));
                s[r] = fma(x3, e3, s[r]);
                t[r] = fma(x3, o3, t[r]);
            }
            even_a[g] = s;
            odd_a[g] = t;
            s = even_b[g];
            t = odd_b[g];
            for (var r = 0u; r < 4u; r++) {
                let x = rows[r];
                let x0 = vec4<f32>(subgroupBroadcast(x, 4u));
                s[r] = fma(x0, e0, s[r]);
                t[r] = fma(x0, o0, t[r]);
                let x1 = vec4<f32>(subgroupBroadcast(x, 5u));
                s[r] = fma(x1, e1, s[r]);
                t[r] = fma(x1, o1, t[r]);
                let x2 = vec4<f32>(subgroupBroadcast(x, 6u));
                s[r] = fma(x2, e2, s[r]);
                t[r] = fma(x2, o2, t[r]);
                let x3 = vec4<f32>(subgroupBroadcast(x, 7u));
                s[r] = fma(x3, e3, s[r]);
                t[r] = fma(x3, o3, t[r]);
            }
            even_b[g] = s;
            odd_b[g] = t;
        }
        ai += 8u * EIGHTS;
        bi += 4u * WG;
    }
    let row = wid.x * ROWS;
    let col = (wid.y * WG + lid) * 8u;
    let near = bias_at(col);
    let far = bias_at(col + 4u);
    for (var g = 0u; g < EIGHTS; g++) {
        for (var r = 0u; r < 4u; r++) {
            let s = even_a[g][r];
            let t = odd_a[g][r];
            let at = row + 8u * g + r;
            store(wid.z, at, col, vec4<f32>(s.x, t.x, s.y, t.y), near);
            store(wid.z, at, col + 4u, vec4<f32>(s.z, t.z, s.w, t.w), far);
        }
        for (var r = 0u; r < 4u; r++) {
            let s = even_b[g][r];
            let t = odd_b[g][r];
            let at = row + 8u * g + 4u + r;
            store(wid.z, at, col, vec4<f32>(s.x, t.x, s.y, t.y), near);
            store(wid.z, at, col + 4u, vec4<f32>(s.z, t.z, s.w, t.w), far);
        }
    }
}
