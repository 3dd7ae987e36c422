// Scaled copy or sum.
//
//   y (=|+=) alpha x            SCALED: y (=|+=) alpha scale[0] x
//
// SCALED takes a factor that only the device knows, such as an upstream gradient.
// X16, Y16: x or y holds f16. VEC4: four values per element.
// Source: BLAS level 1 (Lawson et al. 1979).
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Numerics: one product, one sum. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "real.wgsl"
#if X16
#include "half.wgsl"
alias X = Half;
#else
alias X = Real;
#endif
#if Y16
#include "half.wgsl"
alias Y = Half;
#else
alias Y = Real;
#endif

struct Params {
    n: u32,          // elements; with VEC4 a quarter of the values
    accumulate: u32, // 0: overwrite without reading; 1: add
    alpha: f32,      // factor
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<X>; // (n): addend
#if SCALED
@group(0) @binding(2) var<storage, read> scale: array<f32>; // (1): a factor only the device knows
#endif
@group(0) @binding(3) var<storage, read_write> y: array<Y>; // (n): sum

@compute @workgroup_size(256)
fn axpy(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    var alpha = p.alpha;
#if SCALED
    alpha *= scale[0];
#endif
    if i < p.n {
        if p.accumulate == 0u {
            y[i] = Y(alpha * Real(x[i]));
        } else {
            y[i] = Y(alpha * Real(x[i]) + Real(y[i]));
        }
    }
}
