// Gradients of gated_fwd by both its inputs.
//
//   dgate (=|+=) dy up f'(gate),   dup (=|+=) dy f(gate),   f by OP as there
//
// Source: derivative of gated_fwd (Shazeer 2020, eq. 6).
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Passes: 1. VEC4: four values per element, n counts elements. F16: all buffers hold f16.
// Numerics: f32. Limits: 5 storage buffers.
#const OP: u32 // which f: 0 to 2
#include "linear.wgsl"
#include "stored.wgsl"
#include "gate.wgsl"

struct Params {
    n: u32,             // elements; with VEC4 a quarter of the values
    accumulate: u32,    // dgate: 0: overwrite without reading; 1: add
    accumulate_up: u32, // dup: the same
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<Stored>; // (n): what f is of
@group(0) @binding(2) var<storage, read> up: array<Stored>; // (n): factor
@group(0) @binding(3) var<storage, read> dy: array<Stored>; // (n): upstream gradient
@group(0) @binding(4) var<storage, read_write> dgate: array<Stored>; // (n): gradient of gate
@group(0) @binding(5) var<storage, read_write> dup: array<Stored>; // (n): gradient of up

@compute @workgroup_size(256)
fn gated_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        let g = Real(gate[i]);
#if VEC4
        let a = gate_of(g.x);
        let b = gate_of(g.y);
        let c = gate_of(g.z);
        let d = gate_of(g.w);
        let f = vec4<f32>(a.x, b.x, c.x, d.x);
        let slope = vec4<f32>(a.y, b.y, c.y, d.y);
#else
        let both = gate_of(g);
        let f = both.x;
        let slope = both.y;
#endif
        let upstream = Real(dy[i]);
        var of_gate = upstream * Real(up[i]) * slope;
        if p.accumulate != 0u {
            of_gate += Real(dgate[i]);
        }
        dgate[i] = Stored(of_gate);
        var of_up = upstream * f;
        if p.accumulate_up != 0u {
            of_up += Real(dup[i]);
        }
        dup[i] = Stored(of_up);
    }
}
