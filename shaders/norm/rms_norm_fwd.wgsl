// Root-mean-square normalisation of rows, a residual added first.
//
//   sum[r, :] = x[r, :] + residual[r, :]         without RESIDUAL sum is x itself
//   rstd = 1 / sqrt(sum over c of sum[r, c]^2 / C + eps)
//   y[r, c] = sum[r, c] rstd (offset + gamma[c])
//
// Source: Zhang and Sennrich 2019, eq. 4, with eps as in Llama; Gemma's scales are 1 + gamma.
// Dispatch: ceil(R LANES / 64) workgroups of 64, folded; LANES neighbours share one row.
// Passes: 1 dispatch, each row read twice, the second time from the cache.
// VEC4: four columns per element; C is a multiple of 4. F16: x, residual, sum and y hold f16, and
// what is normalised is the sum as it is stored.
// Numerics: f32; each lane sums every LANES-th element, then the lanes in order: fixed order.
// Limits: 6 storage buffers, 512 bytes.
#include "linear.wgsl"
#include "stored.wgsl"
#include "row_lanes.wgsl"

struct Params {
    rows: u32,   // R
    cols: u32,   // C
    eps: f32,    // added to the mean square
    offset: f32, // added to gamma
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (R, C): rows
@group(0) @binding(2) var<storage, read> gamma: array<Real>; // (C): scale
#if RESIDUAL
@group(0) @binding(3) var<storage, read> residual: array<Stored>; // (R, C): added to x
@group(0) @binding(4) var<storage, read_write> sum: array<Stored>; // (R, C): x + residual
#endif
@group(0) @binding(5) var<storage, read_write> y: array<Stored>; // (R, C): result
@group(0) @binding(6) var<storage, read_write> stats: array<f32>; // (R): 1 / root mean square of each row

@compute @workgroup_size(64)
fn rms_norm_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = linear_group(wid, nwg) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let width = p.cols / VALUES; // elements of a row
    let first = row * width;
    let end = select(0u, width, row < p.rows);

    var squares = Real(0.0);
    for (var c = lane; c < end; c += LANES) {
#if RESIDUAL
        let stored = Stored(Real(x[first + c]) + Real(residual[first + c]));
        sum[first + c] = stored;
        let v = Real(stored);
#else
        let v = Real(x[first + c]);
#endif
        squares = fma(v, v, squares);
    }
    of_lanes[lid] = across(squares);
    workgroupBarrier();
    var mean = 0.0;
    for (var k = 0u; k < LANES; k++) {
        mean += of_lanes[lid - lane + k];
    }
    let rstd = 1.0 / sqrt(mean / f32(p.cols) + p.eps);

    for (var c = lane; c < end; c += LANES) {
#if RESIDUAL
        let v = Real(sum[first + c]);
#else
        let v = Real(x[first + c]);
#endif
        y[first + c] = Stored(v * rstd * (gamma[c] + p.offset));
    }
    if end > 0u && lane == 0u {
        stats[row] = rstd;
    }
}
