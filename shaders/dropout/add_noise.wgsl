// Uniform noise added.
//
//   y[e] = x[e] + scale (2 u(e) - 1),   u(e) = the high 24 bits of word(e) / 2^24
//   word(e) is word e % 4 of Philox4x32-10 block (e / 4, layer, draw, 0) under the seed
//
// VEC4: x and y hold four values per element; n still counts values, a multiple of 4.
// F16: x and y hold f16.
// Source: Jain et al. 2024, "NEFTune", algorithm 1; Philox4x32-10: Salmon et al. 2011.
// Dispatch: ceil(n / 1024) workgroups of 256, folded; four neighbours per invocation.
// Passes: 1. Numerics: one product and one sum; the noise itself is exact. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#include "random.wgsl"

struct Params {
    n: u32,     // elements
    layer: u32, // tells this noise's random stream from the model's others
    scale: f32, // the largest noise
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
@group(0) @binding(2) var<storage, read> x: array<Stored>; // (n): argument
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (n): result

@compute @workgroup_size(256)
fn add_noise(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    // Four times the invocation's index must not wrap: the host keeps n below 2^32 - 1024.
    let first = (linear_group(wid, nwg) * 256u + lid) * 4u;
    if first < p.n {
        let words = random_words(first / 4u, p.layer);
        let drawn = p.scale * (vec4<f32>(words >> vec4<u32>(8u)) * 1.1920928955078125e-7 - 1.0);
#if VEC4
        y[first / 4u] = Stored(Real(x[first / 4u]) + drawn);
#else
        for (var k = 0u; k < min(4u, p.n - first); k++) {
            let e = first + k;
            y[e] = Stored(Real(x[e]) + drawn[k]);
        }
#endif
    }
}
