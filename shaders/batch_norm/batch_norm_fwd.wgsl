// Batch normalisation by given statistics: those of the batch, or running ones.
//
//   y[r, c] = (x[r, c] - mean[c]) rstd[c] gamma[c] + beta[c]
//
// VEC4: four channels per element, C counts elements. F16: x and y hold f16. RUNNING: spread holds
// variances, from which rstd = 1 / sqrt(variance + eps).
// Source: Ioffe and Szegedy 2015, algorithms 1 and 2.
// Dispatch: ceil(splits C / 64) workgroups of 64, folded; an invocation takes one channel of every splits-th row.
// Passes: 1, for a batch's own statistics after batch_norm_finish. Numerics: f32. Limits: 6 storage buffers.
#include "linear.wgsl"

struct Params {
    rows: u32,   // R
    cols: u32,   // C; with VEC4 a quarter of the channels
    splits: u32, // split s has rows s, s + splits, ...
    eps: f32,    // added to a variance
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (R, C): what is normalised
@group(0) @binding(2) var<storage, read> mean: array<Real>; // (C): means
@group(0) @binding(3) var<storage, read> spread: array<Real>; // (C): rstd; RUNNING: variances
@group(0) @binding(4) var<storage, read> gamma: array<Real>; // (C): scale
@group(0) @binding(5) var<storage, read> beta: array<Real>; // (C): shift
@group(0) @binding(6) var<storage, read_write> y: array<Stored>; // (R, C): the result
#include "batch_norm.wgsl"

@compute @workgroup_size(64)
fn batch_norm_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let split = i / p.cols;
    if split < p.splits {
        let c = i - split * p.cols;
        let m = mean[c];
        let factor = rstd_of(spread[c]) * gamma[c];
        let shift = beta[c];
        for (var r = split; r < p.rows; r += p.splits) {
            let at = r * p.cols + c;
            y[at] = Stored(fma(Real(x[at]) - m, factor, shift));
        }
    }
}
