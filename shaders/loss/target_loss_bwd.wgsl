// Gradient of target_loss_fwd.
//
//   dz[r, k] (=|+=) dloss w[r] f'(z[r, k], t[r, k])
//   f' by OP: 0 binary cross entropy: sigmoid(z) - t;  1 squared error: 2 (z - t)
//
// Rows with w = 0 have gradient 0; their values are not read.
// Source: derivatives of target_loss_fwd.
// Dispatch: ceil(R K / 256) workgroups of 256, folded; one value per invocation.
// Passes: 1. Numerics: f32. Limits: 5 storage buffers.
#include "linear.wgsl"
#include "math.wgsl"
#include "target_loss.wgsl"

struct Params {
    rows: u32,       // R
    cols: u32,       // K
    accumulate: u32, // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>; // (R, K): logits or values
@group(0) @binding(2) var<storage, read> targets: array<f32>; // (R, K): what they should be
@group(0) @binding(3) var<storage, read> weights: array<f32>; // (R): weight of each row, such as 1 / (R K); 0: ignored
@group(0) @binding(4) var<storage, read> dloss: array<f32>; // (1): upstream gradient
@group(0) @binding(5) var<storage, read_write> dz: array<f32>; // (R, K): gradient

@compute @workgroup_size(256)
fn target_loss_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.rows * p.cols {
        let w = weights[i / p.cols];
        var g = 0.0;
        if w != 0.0 {
            g = dloss[0] * w * target_loss_slope(z[i], targets[i]);
        }
        if p.accumulate != 0u {
            g += dz[i];
        }
        dz[i] = g;
    }
}
