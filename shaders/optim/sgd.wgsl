// Stochastic gradient descent, with momentum, Nesterov's form and weight decay.
//
//   g <- g + weight_decay theta
//   MOMENTUM: buf <- momentum buf + g;  g <- g + momentum buf (nesterov) or buf
//   theta <- theta - lr g
//   g = grads * factor; the step is left out when a gradient is infinite or NaN (GradState)
//   ZERO_GRAD: grads <- 0 afterwards
//
// Source: torch.optim.SGD (dampening 0); Sutskever et al. 2013, section 2.
// Dispatch: ceil(len / 256) workgroups of 256, folded; four values per invocation, so slices are
// padded to a multiple of four.
// Passes: 1. Numerics: f32, order as in the source. Limits: 5 storage buffers.
#include "linear.wgsl"
#include "step_state.wgsl"
#include "grad_state.wgsl"

struct Params {
    len: u32,          // length of the slice / 4
    offset: u32,       // first element of the slice / 4
    nesterov: u32,     // 1: Nesterov's form; MOMENTUM only
    lr_scale: f32,     // this group's learning rate / StepState.lr
    momentum: f32,     // momentum; MOMENTUM only
    weight_decay: f32, // weight decay
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
@group(0) @binding(2) var<storage, read> grad_state: GradState; // (16 bytes): clip factor and skip flag of this step
@group(0) @binding(3) var<storage, read_write> values: array<vec4<f32>>; // (offset + len): parameters
@group(0) @binding(4) var<storage, read_write> grads: array<vec4<f32>>; // (offset + len): gradients
#if MOMENTUM
@group(0) @binding(5) var<storage, read_write> buf: array<vec4<f32>>; // (offset + len): momentum, zero at first
#endif

@compute @workgroup_size(256)
fn sgd(
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
            var g = grads[i] * grad_state.factor + p.weight_decay * theta;
#if MOMENTUM
            let b = p.momentum * buf[i] + g;
            buf[i] = b;
            g = select(b, g + p.momentum * b, p.nesterov != 0u);
#endif
            values[i] = theta - lr * g;
        }
#if ZERO_GRAD
        grads[i] = vec4<f32>(0.0);
#endif
    }
}
