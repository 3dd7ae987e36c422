// Applies one function to every element.
//
//   y = f(x), f by OP: 0 relu, 1 tanh, 2 sigmoid, 3 gelu (tanh form), 4 gelu (erf form),
//       5 exp, 6 log, 7 sqrt, 8 square, 9 alpha x + beta
//
// VEC4: four values per element, n counts elements. F16: x and y hold f16.
// Source: GELU: Hendrycks & Gimpel 2016, eq. 1 (erf) and section 2 (tanh); others by definition.
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Numerics: tanh and sigmoid are clamped; both gelus are within a few ulp, tails included.
// Limits: 2 storage buffers.
#include "linear.wgsl"
#include "math.wgsl"
#include "stored.wgsl"
#const OP: u32 // which f of the formula: 0 to 9

struct Params {
    n: u32,     // elements; with VEC4 a quarter of the values
    alpha: f32, // factor
    beta: f32,  // summand
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (n): argument
@group(0) @binding(2) var<storage, read_write> y: array<Stored>; // (n): result

fn apply(v: f32) -> f32 {
    switch OP {
        case 0u: { return max(v, 0.0); }
        case 1u: { return tanh_stable(v); }
        case 2u: { return sigmoid(v); }
        // 0.5 v (1 + tanh u) = v sigmoid(2u), which does not cancel for v < 0.
        case 3u: { return v * sigmoid(1.5957691216 * fma(0.044715 * v * v, v, v)); }
        case 4u: { return v * normal(v).y; }
        case 5u: { return exp(v); }
        case 6u: { return log(v); }
        case 7u: { return sqrt(v); }
        case 8u: { return v * v; }
        default: { return fma(p.alpha, v, p.beta); }
    }
}

fn apply_to_all(v: Real) -> Real {
#if VEC4
    return vec4<f32>(apply(v.x), apply(v.y), apply(v.z), apply(v.w));
#else
    return apply(v);
#endif
}

@compute @workgroup_size(256)
fn unary_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        y[i] = Stored(apply_to_all(Real(x[i])));
    }
}
