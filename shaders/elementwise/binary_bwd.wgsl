// Gradient of binary_fwd for one operand, summed over the axes that were broadcast.
//
//   dx[o] (=|+=) sum over r of dy[o + r] d(a op b)/d(operand), OP as in binary_fwd
//   WRT 0: operand a: 1, 1, b, 1/b;  WRT 1: operand b: 1, -1, a, -a/b^2
//   o runs over the operand's own axes (shape), r over the broadcast ones (repeat)
//
// A16: dy and a hold f16; B16: b does; DX16: dx does.
// Source: derivative of binary_fwd.
// Dispatch: ceil(n LANES / 64) workgroups of 64, folded; LANES invocations share an element:
//   1 for short sums, 64 for long ones (a power of two); so a workgroup has 64 / LANES elements.
// Numerics: f32 partial sums in a fixed order, then a tree. Limits: 4 storage buffers, 256 bytes.
#include "linear.wgsl"
#include "coords.wgsl"
#const OP: u32 // which op of binary_fwd: 0 add, 1 sub, 2 mul, 3 div
#const WRT: u32 // 0: gradient of a, 1: of b
#const LANES: u32 // invocations per element, a power of two up to 64: 1 for short sums, 64 for long ones
#if A16
alias A = f16;
#else
alias A = f32;
#endif
#if B16
alias B = f16;
#else
alias B = f32;
#endif
#if DX16
alias Dx = f16;
#else
alias Dx = f32;
#endif

struct Params {
    shape: vec4<u32>,    // of the operand, 1 where it was broadcast
    repeat: vec4<u32>,   // of y where the operand was broadcast, else 1
    stride_y: vec4<u32>, // of dy, whole and row-major
    stride_a: vec4<u32>, // as in binary_fwd
    stride_b: vec4<u32>, // as in binary_fwd
    n: u32,              // product of shape
    repeats: u32,        // product of repeat
    accumulate: u32,     // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<A>; // (shape * repeat): upstream gradient
@group(0) @binding(2) var<storage, read> a: array<A>; // (broadcast to y): left operand of the forward; read for mul and div
@group(0) @binding(3) var<storage, read> b: array<B>; // (broadcast to y): right operand of the forward; read for mul and div
@group(0) @binding(4) var<storage, read_write> dx: array<Dx>; // (shape): gradient of the operand

var<workgroup> scratch: array<f32, 64>;

fn term(at: vec4<u32>) -> f32 {
    let g = f32(dy[strided(at, p.stride_y)]);
    switch OP {
        case 0u: { return g; }
        case 1u: { return select(g, -g, WRT == 1u); }
        case 2u: {
            if WRT == 0u {
                return g * f32(b[strided(at, p.stride_b)]);
            }
            return g * f32(a[strided(at, p.stride_a)]);
        }
        default: {
            let d = f32(b[strided(at, p.stride_b)]);
            if WRT == 0u {
                return g / d;
            }
            return -g * f32(a[strided(at, p.stride_a)]) / (d * d);
        }
    }
}

@compute @workgroup_size(64)
fn binary_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let o = linear_group(wid, nwg) * (64u / LANES) + lid / LANES;
    let lane = lid % LANES;
    var sum = 0.0;
    if o < p.n {
        let own = coords(o, p.shape);
        for (var r = lane; r < p.repeats; r += LANES) {
            sum += term(own + coords(r, p.repeat));
        }
    }
    scratch[lid] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        if lane < half {
            scratch[lid] += scratch[lid + half];
        }
        workgroupBarrier();
    }
    if o < p.n && lane == 0u {
        var g = scratch[lid];
        if p.accumulate != 0u {
            g += f32(dx[o]);
        }
        dx[o] = Dx(g);
    }
}
