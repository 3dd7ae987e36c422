// Gradient of batch normalisation by what was normalised.
//
//   dx[r, c] (=|+=) gamma[c] rstd[c] (dy[r, c] - (dbeta[c] + n[r, c] dgamma[c]) / R);   n = (x - mean) rstd
//
// RUNNING: the statistics are constants and spread holds variances, so that dx = gamma rstd dy. VEC4: four
// channels per element, C counts elements. F16: dy, x and dx hold f16.
// Source: Ioffe and Szegedy 2015, section 3.
// Dispatch: ceil(splits C / 64) workgroups of 64, folded; an invocation takes one channel of every splits-th row.
// Passes: 1, after the sums dgamma and dbeta of batch_norm_bwd_weights. Numerics: f32. Limits: 8 storage buffers.
#include "linear.wgsl"

struct Params {
    rows: u32,       // R
    cols: u32,       // C; with VEC4 a quarter of the channels
    splits: u32,     // split s has rows s, s + splits, ...
    eps: f32,        // added to a variance
    accumulate: u32, // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>; // (R, C): upstream gradient
@group(0) @binding(2) var<storage, read> spread: array<Real>; // (C): rstd; RUNNING: variances
@group(0) @binding(3) var<storage, read> gamma: array<Real>; // (C): scale
@group(0) @binding(4) var<storage, read_write> dx: array<Stored>; // (R, C): gradient
#if RUNNING
#else
@group(0) @binding(5) var<storage, read> x: array<Stored>; // (R, C): what was normalised
@group(0) @binding(6) var<storage, read> mean: array<Real>; // (C): means of the batch
@group(0) @binding(7) var<storage, read> dgamma: array<Real>; // (C): gradient by gamma
@group(0) @binding(8) var<storage, read> dbeta: array<Real>; // (C): gradient by beta
#endif
#include "batch_norm.wgsl"

@compute @workgroup_size(64)
fn batch_norm_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let split = i / p.cols;
    if split < p.splits {
        let c = i - split * p.cols;
        let rstd = rstd_of(spread[c]);
        let factor = rstd * gamma[c];
#if RUNNING
#else
        let count = f32(p.rows);
        let m = mean[c];
        let shift = dbeta[c] / count;
        let slope = rstd * dgamma[c] / count;
#endif
        for (var r = split; r < p.rows; r += p.splits) {
            let at = r * p.cols + c;
            var g = Real(dy[at]);
#if RUNNING
#else
            g -= fma(Real(x[at]) - m, slope, shift);
#endif
            g *= factor;
            if p.accumulate != 0u {
                g += Real(dx[at]);
            }
            dx[at] = Stored(g);
        }
    }
}
