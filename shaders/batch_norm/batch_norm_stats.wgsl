// Means and sums of squares of the channels of a batch, by splits of the rows.
//
//   mean[s, c] = mean over rows r of split s of x[r, c] - x[0, c]
//   squares[s, c] = sum over the same of (x[r, c] - x[0, c] - mean[s, c])^2
//
// VEC4: four channels per element, C counts elements. F16: x holds f16.
// Source: Welford 1962, eq. I and II, of what the first row leaves, so that a mean far from zero costs no digits.
// Dispatch: ceil(splits C / 64) workgroups of 64, folded; an invocation takes one channel of every splits-th row.
// Passes: this, then batch_norm_finish. Numerics: f32, rows in order within a split. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    rows: u32,   // R
    cols: u32,   // C; with VEC4 a quarter of the channels
    splits: u32, // split s has rows s, s + splits, ...; at most R
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (R, C): what is normalised
@group(0) @binding(2) var<storage, read_write> mean: array<Real>; // (splits, C): means beyond row 0
@group(0) @binding(3) var<storage, read_write> squares: array<Real>; // (splits, C): sums of squares about them

@compute @workgroup_size(64)
fn batch_norm_stats(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let split = i / p.cols;
    if split < p.splits {
        let c = i - split * p.cols;
        let first = Real(x[c]);
        var m = Real(0.0);
        var s = Real(0.0);
        var count = 0.0;
        for (var r = split; r < p.rows; r += p.splits) {
            let v = Real(x[r * p.cols + c]) - first;
            count += 1.0;
            let d = v - m;
            m += d * (1.0 / count);
            s += d * (v - m);
        }
        mean[i] = m;
        squares[i] = s;
    }
}
