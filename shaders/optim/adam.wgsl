// Adam and AdamW.
//
//   decoupled: theta <- theta (1 - lr weight_decay), else g <- g + weight_decay theta
//   m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
//   theta <- theta - (lr / bias1) m / (sqrt(v) / sqrt(bias2) + eps),  bias = 1 - beta^step
//   g = grads * factor; the step is left out when a gradient is infinite or NaN (GradState)
//   ZERO_GRAD: grads <- 0 afterwards
//
// Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2; as
//   torch.optim.Adam and AdamW, eps included.
// Dispatch: ceil(len / 256) workgroups of 256, folded; four values per invocation, so slices are
// padded to a multiple of four.
// Passes: 1. Numerics: f32, order as in the source. Limits: 6 storage buffers.
#include "linear.wgsl"
#include "step_state.wgsl"
#include "grad_state.wgsl"

struct Params {
    len: u32,          // length of the slice / 4
    offset: u32,       // first element of the slice / 4
    decoupled: u32,    // 1: AdamW's weight decay
    lr_scale: f32,     // this group's learning rate / StepState.lr
    beta1: f32,        // decay of m; StepState.bias1 belongs to it
    beta2: f32,        // decay of v; StepState.bias2 belongs to it
    eps: f32,          // added to the denominator
    weight_decay: f32, // weight decay
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
@group(0) @binding(2) var<storage, read> grad_state: GradState; // (16 bytes): clip factor and skip flag of this step
@group(0) @binding(3) var<storage, read_write> values: array<vec4<f32>>; // (offset + len): parameters
@group(0) @binding(4) var<storage, read_write> grads: array<vec4<f32>>; // (offset + len): gradients
@group(0) @binding(5) var<storage, read_write> m: array<vec4<f32>>; // (offset + len): first moment, zero at first
@group(0) @binding(6) var<storage, read_write> v: array<vec4<f32>>; // (offset + len): second moment, zero at first

@compute @workgroup_size(256)
fn adam(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    // What all lanes share is loaded before any branch, where CPU drivers load it once for all of them.
    let finite = grad_state.finite != 0u;
    let factor = grad_state.factor;
    let lr = state.lr * p.lr_scale;
    let rate = lr / state.bias1;
    let unbiased = sqrt(state.bias2);
    let decay = p.decoupled != 0u;
    let k = linear_group(wid, nwg) * 256u + lid;
    if k < p.len {
        let i = p.offset + k;
        if finite {
            let theta = values[i];
            let g = grads[i] * factor + select(p.weight_decay, 0.0, decay) * theta;
            let mean = p.beta1 * m[i] + (1.0 - p.beta1) * g;
            let square = p.beta2 * v[i] + (1.0 - p.beta2) * g * g;
            // Moments that decay towards zero would end as denormal numbers, slow on CPU drivers.
            m[i] = select(mean, vec4<f32>(0.0), abs(mean) < vec4<f32>(1e-30));
            v[i] = select(square, vec4<f32>(0.0), square < vec4<f32>(1e-30));
            let kept = theta * (1.0 - select(0.0, lr * p.weight_decay, decay));
            let d = sqrt(square) / unbiased + p.eps;
            values[i] = kept - rate * mean / d;
        }
#if ZERO_GRAD
        grads[i] = vec4<f32>(0.0);
#endif
    }
}
