// Mean of the valid rows of each sequence.
//
//   y[b, c] = sum over t < n of x[b, t, c] / n,   n = min(lens[b], T);  n = 0: zeros
//
// VEC4: four columns per element, C counts elements. F16: x and y hold f16.
// Source: mean pooling of Sentence-BERT (Reimers & Gurevych 2019, section 3).
// Dispatch: (ceil(C / 64), B, 1) workgroups of 64; one column per invocation.
// Passes: 1. Numerics: f32, in the order of t. Limits: 3 storage buffers.
#include "stored.wgsl"

struct Params {
    steps: u32, // T
    width: u32, // C; with VEC4 a quarter of the columns
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> lens: array<u32>; // (B): valid rows of each sequence
@group(0) @binding(2) var<storage, read> x: array<Stored>; // (B, T, C): sequences
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (B, C): means

@compute @workgroup_size(64)
fn mean_pool_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let c = wid.x * 64u + lid;
    if c < p.width {
        let n = min(lens[wid.y], p.steps);
        var sum = Real(0.0);
        for (var t = 0u; t < n; t++) {
            sum += Real(x[(wid.y * p.steps + t) * p.width + c]);
        }
        y[wid.y * p.width + c] = Stored(sum / f32(max(n, 1u)));
    }
}
