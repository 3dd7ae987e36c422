// The function of a gated feed-forward part, with its slope: OP 0: x sigmoid(x); 1: GELU with tanh;
// 2: GELU with erf.
#include "math.wgsl"

// (f(x), f'(x))
fn gate_of(x: f32) -> vec2<f32> {
    switch OP {
        case 0u: {
            let s = sigmoid(x);
            return vec2<f32>(x * s, s * fma(x, 1.0 - s, 1.0));
        }
        case 1u: {
            let g = sigmoid(1.5957691216 * fma(0.044715 * x * x, x, x));
            return vec2<f32>(x * g, fma(x * g * (1.0 - g), 1.5957691216 * fma(0.134145 * x, x, 1.0), g));
        }
        default: {
            let both = normal(x);
            return vec2<f32>(x * both.y, fma(x, both.x, both.y));
        }
    }
}
