// Gradient of rms_norm_fwd by gamma, summed over splits of the rows.
//
//   dgamma[s, c] = sum over rows r of split s of dy[r, c] sum[r, c] rstd[r]
//
// Source: derivative of rms_norm_fwd (Zhang and Sennrich 2019, eq. 4).
// Dispatch: (ceil(C / 64), splits, 1) workgroups of 64; one column per invocation.
// Passes: this, then sum_cols over the splits.
// VEC4: four columns per element, C counts elements. F16: dy and sum hold f16.
// Numerics: f32, rows in order within a split. Limits: 4 storage buffers.
#include "stored.wgsl"

struct Params {
    rows: u32,      // R
    cols: u32,      // C; with VEC4 a quarter of the columns
    per_split: u32, // rows per split: splits = ceil(R / per_split)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>; // (R, C): upstream gradient
@group(0) @binding(2) var<storage, read> sum: array<Stored>; // (R, C): what was normalised
@group(0) @binding(3) var<storage, read> stats: array<f32>; // (R): 1 / root mean square of each row
@group(0) @binding(4) var<storage, read_write> dgamma: array<Real>; // (splits, C): partial sums

@compute @workgroup_size(64)
fn rms_norm_bwd_weights(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let c = wid.x * 64u + lid;
    if c < p.cols {
        let end = min((wid.y + 1u) * p.per_split, p.rows);
        var total = Real(0.0);
        for (var r = wid.y * p.per_split; r < end; r++) {
            let i = r * p.cols + c;
            total = fma(Real(dy[i]) * stats[r], Real(sum[i]), total);
        }
        dgamma[wid.y * p.cols + c] = total;
    }
}
