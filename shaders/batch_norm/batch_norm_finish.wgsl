// Mean and spread of the channels of a whole batch from those of splits, and the running statistics.
//
//   mean[c], var[c] = of all R rows, from means and squares beyond row 0;   rstd[c] = 1 / sqrt(var[c] + eps)
//   running_mean += momentum (mean - running_mean);   running_var += momentum (var R / (R - 1) - running_var)
//
// VEC4: four channels per element, C counts elements. F16: x holds f16.
// Source: Chan, Golub and LeVeque 1983, eq. 2.1; the running statistics as torch.nn.BatchNorm2d.
// Dispatch: ceil(C / 64) workgroups of 64, folded; one channel per invocation.
// Passes: 1, after batch_norm_stats. Numerics: f32, splits in order. Limits: 8 storage buffers; R > 1.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    rows: u32,     // R
    cols: u32,     // C; with VEC4 a quarter of the channels
    splits: u32,   // split s had rows s, s + splits, ...
    eps: f32,      // added to the variance
    momentum: f32, // share of this batch in the running statistics
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> part_mean: array<Real>; // (splits, C): means beyond row 0
@group(0) @binding(2) var<storage, read> part_squares: array<Real>; // (splits, C): sums of squares about them
@group(0) @binding(3) var<storage, read_write> mean: array<Real>; // (C): mean of the batch
@group(0) @binding(4) var<storage, read_write> rstd: array<Real>; // (C): 1 / sqrt(var + eps)
@group(0) @binding(5) var<storage, read_write> running_mean: array<Real>; // (C): running mean
@group(0) @binding(6) var<storage, read_write> running_var: array<Real>; // (C): running unbiased variance
@group(0) @binding(7) var<storage, read_write> tracked: array<f32>; // (1): batches so far
@group(0) @binding(8) var<storage, read> x: array<Stored>; // (R, C): what is normalised, of which row 0 is read

@compute @workgroup_size(64)
fn batch_norm_finish(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let c = linear_group(wid, nwg) * 64u + lid;
    if c == 0u {
        tracked[0] += 1.0;
    }
    if c < p.cols {
        var m = Real(0.0);
        var s = Real(0.0);
        var count = 0.0;
        for (var split = 0u; split < p.splits; split++) {
            let own = f32((p.rows - split + p.splits - 1u) / p.splits);
            let all = count + own;
            let d = part_mean[split * p.cols + c] - m;
            m += d * (own / all);
            s += part_squares[split * p.cols + c] + d * d * (count * own / all);
            count = all;
        }
        m += Real(x[c]);
        mean[c] = m;
        rstd[c] = 1.0 / sqrt(s / count + p.eps);
        running_mean[c] += p.momentum * (m - running_mean[c]);
        running_var[c] += p.momentum * (s / (count - 1.0) - running_var[c]);
    }
}
