// RMSProp, optionally centred and with momentum.
//
//   g <- g + weight_decay theta;  square <- alpha square + (1 - alpha) g^2
//   CENTERED: mean <- alpha mean + (1 - alpha) g;  d = sqrt(square - mean^2) + eps, else
//   d = sqrt(square) + eps
//   MOMENTUM: buf <- momentum buf + g / d, theta <- theta - lr buf, else
//   theta <- theta - lr g / d
//   g = grads * factor; the step is left out when a gradient is infinite or NaN (GradState)
//   ZERO_GRAD: grads <- 0 afterwards
//
// Source: torch.optim.RMSprop; Hinton 2012, lecture 6e; Graves 2013, eq. 38-41 (centred).
// Dispatch: ceil(len / 256) workgroups of 256, folded; four values per invocation, so slices are
// padded to a multiple of four.
// Passes: 1. Numerics: f32, order as in the source. Limits: 7 storage buffers.
#include "linear.wgsl"
#include "step_state.wgsl"
#include "grad_state.wgsl"

struct Params {
    len: u32,          // length of the slice / 4
    offset: u32,       // first element of the slice / 4
    lr_scale: f32,     // this group's learning rate / StepState.lr
    alpha: f32,        // decay of square and mean
    eps: f32,          // added to the denominator
    momentum: f32,     // momentum; MOMENTUM only
    weight_decay: f32, // weight decay
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
@group(0) @binding(2) var<storage, read> grad_state: GradState; // (16 bytes): clip factor and skip flag of this step
@group(0) @binding(3) var<storage, read_write> values: array<vec4<f32>>; // (offset + len): parameters
@group(0) @binding(4) var<storage, read_write> grads: array<vec4<f32>>; // (offset + len): gradients
@group(0) @binding(5) var<storage, read_write> square: array<vec4<f32>>; // (offset + len): running mean of squares, zero at first
#if MOMENTUM
@group(0) @binding(6) var<storage, read_write> buf: array<vec4<f32>>; // (offset + len): momentum, zero at first
#endif
#if CENTERED
@group(0) @binding(7) var<storage, read_write> mean: array<vec4<f32>>; // (offset + len): running mean, zero at first
#endif

@compute @workgroup_size(256)
fn rmsprop(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let k = linear_group(wid, nwg) * 256u + lid;
    if k < p.len {
        let i = p.offset + k;
        if grad_state.finite != 0u {
            let lr = state.lr * p.lr_scale;
            let theta = values[i];
            let g = grads[i] * grad_state.factor + p.weight_decay * theta;
            let s = p.alpha * square[i] + (1.0 - p.alpha) * g * g;
            square[i] = s;
#if CENTERED
            let a = p.alpha * mean[i] + (1.0 - p.alpha) * g;
            mean[i] = a;
            // Rounding may take the variance below zero.
            let d = sqrt(max(s - a * a, vec4<f32>(0.0))) + p.eps;
#else
            let d = sqrt(s) + p.eps;
#endif
            var change = g / d;
#if MOMENTUM
            change += p.momentum * buf[i];
            buf[i] = change;
#endif
            values[i] = theta - lr * change;
        }
#if ZERO_GRAD
        grads[i] = vec4<f32>(0.0);
#endif
    }
}
