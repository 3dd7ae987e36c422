// Gradient of mean_pool_fwd.
//
//   dx[b, t, c] (=|+=) dy[b, c] / n for t < n, else 0;   n = min(lens[b], T)
//
// VEC4: four columns per element, C counts elements. F16: dy and dx hold f16.
// Source: derivative of mean_pool_fwd.
// Dispatch: B T workgroups of 64, folded; one row per workgroup.
// Passes: 1. Numerics: one quotient. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    rows: u32,       // B T
    steps: u32,      // T
    width: u32,      // C; with VEC4 a quarter of the columns
    accumulate: u32, // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> lens: array<u32>; // (B): valid rows of each sequence
@group(0) @binding(2) var<storage, read> dy: array<Stored>; // (B, C): upstream gradient
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>; // (B, T, C): gradient

@compute @workgroup_size(64)
fn mean_pool_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = linear_group(wid, nwg);
    if row < p.rows {
        let b = row / p.steps;
        let n = min(lens[b], p.steps);
        let valid = row % p.steps < n;
        for (var c = lid; c < p.width; c += 64u) {
            let i = row * p.width + c;
            var g = select(Real(0.0), Real(dy[b * p.width + c]) / f32(max(n, 1u)), valid);
            if p.accumulate != 0u {
                g += Real(dx[i]);
            }
            dx[i] = Stored(g);
        }
    }
}
