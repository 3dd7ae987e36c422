// How many units of a row an LSTM cell computes at once: four, or one where H is no multiple of 4.
#include "math.wgsl"

#if VEC4
alias Units = vec4<f32>;
const UNITS: u32 = 4u;

fn tanh_of(x: Units) -> Units {
    return vec4<f32>(tanh_stable(x.x), tanh_stable(x.y), tanh_stable(x.z), tanh_stable(x.w));
}
#else
alias Units = f32;
const UNITS: u32 = 1u;

fn tanh_of(x: Units) -> Units {
    return tanh_stable(x);
}
#endif

// Factor of all that a cell stores: 1, or NaN where its product cannot be right (see subgroup.wgsl). What it
// would come from cannot tell, since clamps hide a NaN.
var<private> sound: f32 = 1.0;
