// Sums chunks of an array; twice for the whole.
//
//   y[g] (=|+=) scale * sum over i in [g chunk, (g + 1) chunk) of x[i]
//
// Source: definition.
// Dispatch: ceil(n / chunk) workgroups of 256, folded; one chunk per workgroup.
// Passes: 2 of this kernel: partial sums per chunk, then those as one chunk. 1 for short arrays.
// Numerics: each lane sums every 256th element, then a tree; fixed order.
// Limits: 2 storage buffers, 1024 bytes.
#include "linear.wgsl"
#include "reduce.wgsl"

struct Params {
    n: u32,          // elements
    chunk: u32,      // elements per workgroup
    accumulate: u32, // 0: overwrite without reading; 1: add
    scale: f32,      // 1, or 1/n in the last pass for a mean
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // (n): addends
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (ceil(n / chunk)): one sum per chunk

const WG = 256u;

@compute @workgroup_size(256)
fn sum_all(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let g = linear_group(wid, nwg);
    let start = g * p.chunk;
    let used = start < p.n && g < (p.n + p.chunk - 1u) / p.chunk;
    let end = select(0u, min(p.chunk, p.n - start), used);
    var sum = 0.0;
    for (var i = lid; i < end; i += WG) {
        sum += x[start + i];
    }
    let total = p.scale * workgroup_sum(lid, sum);
    if used && lid == 0u {
        if p.accumulate == 0u {
            y[g] = total;
        } else {
            y[g] += total;
        }
    }
}
