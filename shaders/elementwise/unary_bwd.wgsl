// Gradient of unary_fwd.
//
//   dx (=|+=) dy f'(saved), OP as in unary_fwd; saved is y for relu, tanh, sigmoid, exp and
//   sqrt, x for both gelus, log and square, and is not read for alpha x + beta
//
// VEC4: four values per element, n counts elements. F16: saved, dy and dx hold f16.
// Source: derivatives of unary_fwd; relu has gradient 0 at 0, as PyTorch.
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Numerics: f32; gelu derivatives from the same clamped functions as the forward.
// Limits: 3 storage buffers.
#include "linear.wgsl"
#include "math.wgsl"
#include "stored.wgsl"
#const OP: u32 // which f of unary_fwd: 0 to 9

struct Params {
    n: u32,          // elements; with VEC4 a quarter of the values
    accumulate: u32, // 0: overwrite without reading; 1: add
    alpha: f32,      // factor
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> saved: array<Stored>; // (n): the forward's y or x, see unary_fwd; bind dy again for OP 9
@group(0) @binding(2) var<storage, read> dy: array<Stored>; // (n): upstream gradient
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>; // (n): gradient

fn slope(s: f32) -> f32 {
    switch OP {
        case 0u: { return select(0.0, 1.0, s > 0.0); }
        case 1u: { return fma(-s, s, 1.0); }
        case 2u: { return s * (1.0 - s); }
        case 3u: {
            let g = sigmoid(1.5957691216 * fma(0.044715 * s * s, s, s));
            return fma(s * g * (1.0 - g), 1.5957691216 * fma(0.134145 * s, s, 1.0), g);
        }
        case 4u: {
            let both = normal(s);
            return fma(s, both.x, both.y);
        }
        case 5u: { return s; }
        case 6u: { return 1.0 / s; }
        case 7u: { return 0.5 / s; }
        case 8u: { return 2.0 * s; }
        default: { return p.alpha; }
    }
}

fn slopes(s: Real) -> Real {
#if VEC4
    return vec4<f32>(slope(s.x), slope(s.y), slope(s.z), slope(s.w));
#else
    return slope(s);
#endif
}

@compute @workgroup_size(256)
fn unary_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        var g = Real(dy[i]) * slopes(Real(saved[i]));
        if p.accumulate != 0u {
            g += Real(dx[i]);
        }
        dx[i] = Stored(g);
    }
}
