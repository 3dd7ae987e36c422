// Combines two arrays element by element, with broadcasting over up to four axes.
//
//   y[i] = a[ia] op b[ib], OP: 0 add, 1 sub, 2 mul, 3 div
//   ia = i . stride_a, ib = i . stride_b: the coordinates of i dotted with the strides; 0 repeats an axis
//
// Source: definition; broadcasting as NumPy.
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation.
// Numerics: one f32 operation. Limits: 3 storage buffers, 4 axes.
// SAME: both operands have y's shape; no index arithmetic. VEC4 (with SAME): four values per element.
// A16: a and y hold f16; B16: b does.
#include "linear.wgsl"
#include "real.wgsl"
#if A16
#include "half.wgsl"
alias A = Half;
#else
alias A = Real;
#endif
#if B16
#include "half.wgsl"
alias B = Half;
#else
alias B = Real;
#endif
#include "coords.wgsl"
#const OP: u32 // which op of the formula: 0 to 3

struct Params {
    shape: vec4<u32>,    // of y, outermost first; leading axes 1
    stride_a: vec4<u32>, // elements; 0 where a is broadcast
    stride_b: vec4<u32>, // elements; 0 where b is broadcast
    n: u32,              // product of shape; with VEC4 a quarter of it
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<A>; // (broadcast to shape): left operand
@group(0) @binding(2) var<storage, read> b: array<B>; // (broadcast to shape): right operand
@group(0) @binding(3) var<storage, read_write> y: array<A>; // (shape): result

fn apply(u: Real, v: Real) -> Real {
    switch OP {
        case 0u: { return u + v; }
        case 1u: { return u - v; }
        case 2u: { return u * v; }
        default: { return u / v; }
    }
}

@compute @workgroup_size(256)
fn binary_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
#if SAME
        y[i] = A(apply(Real(a[i]), Real(b[i])));
#else
        let at = coords(i, p.shape);
        y[i] = A(apply(Real(a[strided(at, p.stride_a)]), Real(b[strided(at, p.stride_b)])));
#endif
    }
}
