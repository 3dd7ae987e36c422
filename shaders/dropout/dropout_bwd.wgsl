// Gradient of dropout_fwd: the mask is drawn again, from the same counters.
//
//   dx[e] (=|+=) dy[e] * (0 if word(e) < threshold else scale)
//   threshold = p 2^32, scale = 1 / (1 - p); p = 0 is the identity
//   word(e) is word e % 4 of Philox4x32-10 block (e / 4, layer, draw, 0) under the seed
//
// VEC4: dy and dx hold four values per element; n still counts values, a multiple of 4.
// F16: dy and dx hold f16.
// Source: derivative of dropout_fwd; Philox4x32-10: Salmon et al. 2011.
// Dispatch: ceil(n / 1024) workgroups of 256, folded; four neighbours per invocation.
// Passes: 1. Numerics: one product; the mask is exact. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#include "dropout.wgsl"

struct Params {
    n: u32,          // elements
    layer: u32,      // tells this dropout's random stream from the model's others
    threshold: u32,  // p 2^32 (kernels::philox::drop_threshold); 0 is the identity with scale 1
    accumulate: u32, // 0: overwrite without reading; 1: add
    scale: f32,      // 1 / (1 - p)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
@group(0) @binding(2) var<storage, read> dy: array<Stored>; // (n): upstream gradient
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>; // (n): gradient

@compute @workgroup_size(256)
fn dropout_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    // Four times the invocation's index must not wrap: the host keeps n below 2^32 - 1024.
    let first = (linear_group(wid, nwg) * 256u + lid) * 4u;
    if first < p.n {
        let factors = dropout_factors(first);
#if VEC4
        var g = Real(dy[first / 4u]) * factors;
        if p.accumulate != 0u {
            g += Real(dx[first / 4u]);
        }
        dx[first / 4u] = Stored(g);
#else
        for (var k = 0u; k < min(4u, p.n - first); k++) {
            let e = first + k;
            var g = Real(dy[e]) * factors[k];
            if p.accumulate != 0u {
                g += Real(dx[e]);
            }
            dx[e] = Stored(g);
        }
#endif
    }
}
