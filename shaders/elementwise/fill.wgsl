// Fills a slice with one value.
//
//   y[offset + i] = value            for i in [0, n)
//
// Source: definition.
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Passes: 1. Numerics: exact. Limits: 1 storage buffer.
#include "linear.wgsl"

struct Params {
    n: u32,      // elements to write
    offset: u32, // first element
    value: f32,  // what to write
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (offset + n): the slice

@compute @workgroup_size(256)
fn fill(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        y[p.offset + i] = p.value;
    }
}
