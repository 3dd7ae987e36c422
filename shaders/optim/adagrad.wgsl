// AdaGrad.
//
//   g <- g + weight_decay theta;  sum <- sum + g^2
//   theta <- theta - lr / (1 + (step - 1) lr_decay) * g / (sqrt(sum) + eps)
//   g = grads * factor; the step is left out when a gradient is infinite or NaN (GradState)
//   ZERO_GRAD: grads <- 0 afterwards
//
// Source: torch.optim.Adagrad; Duchi et al. 2011, figure 1.
// Dispatch: ceil(len / 256) workgroups of 256, folded; four values per invocation, so slices are
// padded to a multiple of four.
// Passes: 1. Numerics: f32, order as in the source. Limits: 5 storage buffers.
#include "linear.wgsl"
#include "step_state.wgsl"
#include "grad_state.wgsl"

struct Params {
    len: u32,          // length of the slice / 4
    offset: u32,       // first element of the slice / 4
    lr_scale: f32,     // this group's learning rate / StepState.lr
    lr_decay: f32,     // decay of the learning rate with the step
    eps: f32,          // added to the denominator
    weight_decay: f32, // weight decay
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
@group(0) @binding(2) var<storage, read> grad_state: GradState; // (16 bytes): clip factor and skip flag of this step
@group(0) @binding(3) var<storage, read_write> values: array<vec4<f32>>; // (offset + len): parameters
@group(0) @binding(4) var<storage, read_write> grads: array<vec4<f32>>; // (offset + len): gradients
@group(0) @binding(5) var<storage, read_write> sum: array<vec4<f32>>; // (offset + len): sum of squares, zero or a start value

@compute @workgroup_size(256)
fn adagrad(
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
            let s = sum[i] + g * g;
            sum[i] = s;
            let rate = lr / (1.0 + f32(state.step - 1u) * p.lr_decay);
            values[i] = theta - rate * g / (sqrt(s) + p.eps);
        }
#if ZERO_GRAD
        grads[i] = vec4<f32>(0.0);
#endif
    }
}
