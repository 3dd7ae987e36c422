// What a gated feed-forward part computes between its layers.
//
//   y = f(gate) up,   f by OP: 0: x sigmoid(x); 1: GELU with tanh; 2: GELU with erf
//
// Source: Shazeer 2020, "GLU Variants Improve Transformer", eq. 6 (SwiGLU, GEGLU).
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Passes: 1. VEC4: four values per element, n counts elements. F16: all buffers hold f16.
// Numerics: f32. Limits: 3 storage buffers.
#const OP: u32 // which f: 0 to 2
#include "linear.wgsl"
#include "stored.wgsl"
#include "gate.wgsl"

struct Params {
    n: u32, // elements; with VEC4 a quarter of the values
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<Stored>; // (n): what f is of
@group(0) @binding(2) var<storage, read> up: array<Stored>; // (n): factor
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (n): result

@compute @workgroup_size(256)
fn gated_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        let g = Real(gate[i]);
#if VEC4
        let f = vec4<f32>(gate_of(g.x).x, gate_of(g.y).x, gate_of(g.z).x, gate_of(g.w).x);
#else
        let f = gate_of(g).x;
#endif
        y[i] = Stored(f * Real(up[i]));
    }
}
