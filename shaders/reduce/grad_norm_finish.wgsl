// Second pass of the gradient norm: the factor that clips, kept on the device.
//
//   norm   = sqrt(sum of sums) / loss_scale
//   factor = min(1, max_norm / (norm + 1e-6)) / loss_scale      (max_norm <= 0: no clipping)
//   finite = 0 and skipped += 1 when norm is infinite or NaN: the optimisers leave the step out
//
// Source: torch.nn.utils.clip_grad_norm_; Pascanu et al. 2013, algorithm 1.
// Dispatch: 1 workgroup of 256.
// Numerics: each lane sums every 256th sum, then a tree; fixed order. Squares overflow
//   beyond 1.8e19, which counts as infinite. Limits: 3 storage buffers, 1024 bytes.
#include "reduce.wgsl"
#include "math.wgsl"
#include "step_state.wgsl"
#include "grad_state.wgsl"

struct Params {
    count: u32,    // partial sums in sums
    max_norm: f32, // clip above this; 0 or less: never
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> state: StepState; // (32 bytes)
@group(0) @binding(2) var<storage, read> sums: array<f32>; // (count) f32, from grad_norm_partial
@group(0) @binding(3) var<storage, read_write> grad_state: GradState; // (16 bytes), zeroed before the first step

const WG = 256u;

@compute @workgroup_size(256)
fn grad_norm_finish(@builtin(local_invocation_index) lid: u32) {
    var sum = 0.0;
    for (var i = lid; i < p.count; i += WG) {
        sum += sums[i];
    }
    let total = workgroup_sum(lid, sum);
    if lid == 0u {
        let norm = sqrt(total) / state.loss_scale;
        let clip = select(1.0, min(1.0, p.max_norm / (norm + 1e-6)), p.max_norm > 0.0);
        let bad = non_finite(total);
        grad_state.factor = select(clip / state.loss_scale, 0.0, bad);
        grad_state.norm = norm;
        grad_state.finite = select(1u, 0u, bad);
        grad_state.skipped += select(0u, 1u, bad);
    }
}
