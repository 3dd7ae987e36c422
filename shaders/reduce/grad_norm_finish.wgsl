// Second pass of the gradient norm: the factor that clips, kept on the device.
//
//   norm   = sqrt(sum of sums) / scale
//   factor = min(1, max_norm / (norm + 1e-6)) / scale           (max_norm <= 0: no clipping)
//   finite = 0 and skipped += 1 when norm is infinite or NaN: the optimisers leave the step out
//   scale  : halved by such a step, doubled (up to 2^24) by `interval` others in a row
//
// Source: torch.nn.utils.clip_grad_norm_; Pascanu et al. 2013, algorithm 1; torch.amp.GradScaler,
//   Micikevicius et al. 2018, section 3.2.
// Dispatch: 1 workgroup of 256; it does everything.
// Numerics: each lane sums every 256th sum, then a tree; fixed order. Squares overflow
//   beyond 1.8e19, which counts as infinite. Limits: 3 storage buffers, 1024 bytes.
#include "reduce.wgsl"
#include "math.wgsl"
#include "loss_scale.wgsl"
#include "grad_state.wgsl"

struct Params {
    count: u32,    // partial sums in sums
    max_norm: f32, // clip above this; 0 or less: never
    interval: u32, // good steps until the scale doubles; 0: it stays as it is
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> loss_scale: LossScale; // (8 bytes): what the gradients were multiplied by; adjusted here
@group(0) @binding(2) var<storage, read> sums: array<f32>; // (count): sums of squares, from grad_norm_partial
@group(0) @binding(3) var<storage, read_write> grad_state: GradState; // (16 bytes): result; zeroed before the first step

const WG = 256u;
const LARGEST = 16777216.0;

@compute @workgroup_size(256)
fn grad_norm_finish(@builtin(local_invocation_index) lid: u32) {
    var sum = 0.0;
    for (var i = lid; i < p.count; i += WG) {
        sum += sums[i];
    }
    let total = workgroup_sum(lid, sum);
    if lid == 0u {
        let scale = loss_scale.scale;
        let norm = sqrt(total) / scale;
        let clip = select(1.0, min(1.0, p.max_norm / (norm + 1e-6)), p.max_norm > 0.0);
        let bad = non_finite(total);
        grad_state.factor = select(clip / scale, 0.0, bad);
        grad_state.norm = norm;
        grad_state.finite = select(1u, 0u, bad);
        grad_state.skipped += select(0u, 1u, bad);
        if p.interval > 0u {
            let good = select(loss_scale.good + 1.0, 0.0, bad);
            let grown = good >= f32(p.interval);
            loss_scale.scale = select(select(scale, min(2.0 * scale, LARGEST), grown), 0.5 * scale, bad);
            loss_scale.good = select(good, 0.0, grown);
        }
    }
}
