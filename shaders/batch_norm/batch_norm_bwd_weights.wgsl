// Gradients of batch normalisation by gamma and beta, summed over splits of the rows.
//
//   dgamma[s, c] = sum over rows r of split s of dy[r, c] (x[r, c] - mean[c]) rstd[c]
//   dbeta[s, c] = sum over rows r of split s of dy[r, c]
//
// VEC4: four channels per element, C counts elements. F16: dy and x hold f16. RUNNING: spread holds
// variances.
// Source: Ioffe and Szegedy 2015, section 3.
// Dispatch: ceil(splits C / 64) workgroups of 64, folded; an invocation takes one channel of every splits-th row.
// Passes: this, then sum_cols over the splits of each. Numerics: f32, rows in order within a split.
// Limits: 6 storage buffers.
#include "linear.wgsl"

struct Params {
    rows: u32,   // R
    cols: u32,   // C; with VEC4 a quarter of the channels
    splits: u32, // split s has rows s, s + splits, ...
    eps: f32,    // added to a variance
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>; // (R, C): upstream gradient
@group(0) @binding(2) var<storage, read> x: array<Stored>; // (R, C): what was normalised
@group(0) @binding(3) var<storage, read> mean: array<Real>; // (C): means
@group(0) @binding(4) var<storage, read> spread: array<Real>; // (C): rstd; RUNNING: variances
@group(0) @binding(5) var<storage, read_write> dgamma: array<Real>; // (splits, C): partial sums
@group(0) @binding(6) var<storage, read_write> dbeta: array<Real>; // (splits, C): partial sums
#include "batch_norm.wgsl"

@compute @workgroup_size(64)
fn batch_norm_bwd_weights(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let split = i / p.cols;
    if split < p.splits {
        let c = i - split * p.cols;
        let m = mean[c];
        let rstd = rstd_of(spread[c]);
        var by_gamma = Real(0.0);
        var by_beta = Real(0.0);
        for (var r = split; r < p.rows; r += p.splits) {
            let at = r * p.cols + c;
            let d = Real(dy[at]);
            by_gamma = fma(d, (Real(x[at]) - m) * rstd, by_gamma);
            by_beta += d;
        }
        dgamma[i] = by_gamma;
        dbeta[i] = by_beta;
    }
}
