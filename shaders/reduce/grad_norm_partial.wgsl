// First pass of the gradient norm: sums of squares of chunks of one flat gradient buffer.
//
//   sums[base + g] = sum over i in [g chunk, (g + 1) chunk) of grads[offset + i]^2
//
// Several buffers (or slices of trained parameters) share one `sums` by their `base`.
// VEC4: four values per element; n, offset and chunk count elements.
// Source: definition of the Euclidean norm.
// Dispatch: ceil(n / chunk) workgroups of 256, folded; one chunk per workgroup.
// Passes: this, then grad_norm_finish. Numerics: fixed order. Limits: 2 storage buffers, 1024 bytes.
#include "linear.wgsl"
#include "real.wgsl"
#include "reduce.wgsl"

struct Params {
    n: u32,      // elements of the slice
    offset: u32, // first element of the slice
    chunk: u32,  // elements per workgroup
    base: u32,   // first element of sums to write
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> grads: array<Real>; // (offset + n): gradients
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // (base + ceil(n / chunk)): one sum per chunk, of all buffers

const WG = 256u;

@compute @workgroup_size(256)
fn grad_norm_partial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let g = linear_group(wid, nwg);
    let start = g * p.chunk;
    let used = start < p.n && g < (p.n + p.chunk - 1u) / p.chunk;
    let end = select(0u, min(p.chunk, p.n - start), used);
    var sum = Real(0.0);
    for (var i = lid; i < end; i += WG) {
        let v = grads[p.offset + start + i];
        sum = fma(v, v, sum);
    }
#if VEC4
    let total = workgroup_sum(lid, (sum.x + sum.y) + (sum.z + sum.w));
#else
    let total = workgroup_sum(lid, sum);
#endif
    if used && lid == 0u {
        sums[p.base + g] = total;
    }
}
