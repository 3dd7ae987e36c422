// Losses of rows of numbers against targets of the same shape.
//
//   loss[r] = w[r] sum over k of f(z[r, k], t[r, k])
//   f by OP: 0 binary cross entropy: max(z, 0) - z t + ln(1 + exp(-|z|));  1 squared error: (z - t)^2
//
// Rows with w = 0 have loss 0; their values are not read.
// Source: torch.nn.BCEWithLogitsLoss and torch.nn.MSELoss, a weighted sum instead of the mean.
// Dispatch: R workgroups of 64, folded; one row per workgroup.
// Passes: 1; sum_all adds up the rows. Numerics: f32; each lane sums every 64th value, then a tree:
//   fixed order.
// Limits: 4 storage buffers, 256 bytes.
#include "linear.wgsl"
#include "math.wgsl"
#include "target_loss.wgsl"
#include "reduce.wgsl"

struct Params {
    rows: u32, // R
    cols: u32, // K
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>; // (R, K): logits or values
@group(0) @binding(2) var<storage, read> targets: array<f32>; // (R, K): what they should be
@group(0) @binding(3) var<storage, read> weights: array<f32>; // (R): weight of each row, such as 1 / (R K); 0: ignored
@group(0) @binding(4) var<storage, read_write> loss: array<f32>; // (R): weighted loss of each row

const WG = 64u;

@compute @workgroup_size(64)
fn target_loss_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let r = linear_group(wid, nwg);
    let known = r < p.rows;
    let w = weights[select(0u, r, known)];
    let end = select(0u, p.cols, known && w != 0.0);
    var sum = 0.0;
    for (var k = lid; k < end; k += WG) {
        sum += target_loss(z[r * p.cols + k], targets[r * p.cols + k]);
    }
    let total = w * workgroup_sum(lid, sum);
    if known && lid == 0u {
        loss[r] = total;
    }
}
