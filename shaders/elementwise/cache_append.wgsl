// Appends sequences to those in a cache, at positions that only the device knows.
//
//   y[b, starts[b] + t, c] = x[b, t, first + c]   for t < T where starts[b] + t < S
//
// For the keys and values of a decoder: a step recorded once appends wherever the cache ends.
// Source: definition (the key-value cache of Pope et al. 2022, section 2.2).
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation, c fastest.
// Numerics: exact. What would lie past the end is left out. Limits: 3 storage buffers.
#include "linear.wgsl"

struct Params {
    n: u32,        // B * T * C
    steps: u32,    // T, appended to each row
    capacity: u32, // S, places of a row of y
    width: u32,    // C, columns copied
    row: u32,      // columns of x
    first: u32,    // first column copied
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>; // (B): places already taken in each row
@group(0) @binding(2) var<storage, read> x: array<f32>; // (B, T, row): what is appended
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (B, S, C): what it is appended to

@compute @workgroup_size(256)
fn cache_append(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        let c = i % p.width;
        let t = (i / p.width) % p.steps;
        let b = i / (p.width * p.steps);
        let start = starts[b];
        // Not start + t < capacity: that sum may wrap.
        if start < p.capacity && t < p.capacity - start {
            let at = (b * p.capacity + start + t) * p.width + c;
            y[at] = x[(b * p.steps + t) * p.row + p.first + c];
        }
    }
}
