// Gradients of layer_norm_fwd by gamma and beta, summed over splits of the rows.
//
//   dgamma[s, c] = sum over rows r of split s of dy[r, c] (sum[r, c] - mean[r]) rstd[r]
//   dbeta[s, c] = sum over rows r of split s of dy[r, c]
//
// Source: derivative of layer_norm_fwd (Ba et al. 2016, eq. 4), as torch.nn.LayerNorm.
// Dispatch: (ceil(C / 64), splits, 1) workgroups of 64; one column per invocation.
// Passes: this, then sum_cols over the splits of each.
// VEC4: four columns per element, C counts elements. F16: dy and sum hold f16.
// Numerics: f32, rows in order within a split. Limits: 5 storage buffers.
#include "stored.wgsl"

struct Params {
    rows: u32,      // R
    cols: u32,      // C; with VEC4 a quarter of the columns
    per_split: u32, // rows per split: splits = ceil(R / per_split)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>; // (R, C): upstream gradient
@group(0) @binding(2) var<storage, read> sum: array<Stored>; // (R, C): what was normalised
@group(0) @binding(3) var<storage, read> stats: array<vec2<f32>>; // (R): mean and rstd of the forward
@group(0) @binding(4) var<storage, read_write> dgamma: array<Real>; // (splits, C): partial sums
@group(0) @binding(5) var<storage, read_write> dbeta: array<Real>; // (splits, C): partial sums

@compute @workgroup_size(64)
fn layer_norm_bwd_weights(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let c = wid.x * 64u + lid;
    if c < p.cols {
        let end = min((wid.y + 1u) * p.per_split, p.rows);
        var by_gamma = Real(0.0);
        var by_beta = Real(0.0);
        for (var r = wid.y * p.per_split; r < end; r++) {
            let i = r * p.cols + c;
            let d = Real(dy[i]);
            by_gamma = fma(d, (Real(sum[i]) - stats[r].x) * stats[r].y, by_gamma);
            by_beta += d;
        }
        dgamma[wid.y * p.cols + c] = by_gamma;
        dbeta[wid.y * p.cols + c] = by_beta;
    }
}
