// Gradient of rms_norm_fwd by its rows.
//
//   n = sum[r, :] rstd,  g = dy[r, :] (offset + gamma)
//   d[r, c] = rstd (g[c] - n[c] mean over c of g n)   SUM_USED: + dsum[r, c]
//   dx (=|+=) d;   RESIDUAL: dresidual (=|+=) d
//
// dsum is the gradient that `sum` received from its other users, such as the next residual.
// Source: derivative of rms_norm_fwd (Zhang and Sennrich 2019, eq. 4).
// Dispatch: ceil(R LANES / 64) workgroups of 64, folded; LANES neighbours share one row.
// Passes: 1 dispatch, each row read twice, the second time from the cache.
// VEC4: four columns per element; C is a multiple of 4. F16: all but stats and gamma hold f16.
// Numerics: f32; each lane sums every LANES-th element, then the lanes in order: fixed order.
// Limits: 7 storage buffers, 512 bytes.
#include "linear.wgsl"
#include "stored.wgsl"
#include "row_lanes.wgsl"

struct Params {
    rows: u32,                // R
    cols: u32,                // C
    accumulate: u32,          // dx: 0: overwrite without reading; 1: add
    accumulate_residual: u32, // dresidual: the same; RESIDUAL only
    offset: f32,              // added to gamma
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>; // (R, C): upstream gradient
@group(0) @binding(2) var<storage, read> sum: array<Stored>; // (R, C): what was normalised
@group(0) @binding(3) var<storage, read> stats: array<f32>; // (R): 1 / root mean square of each row
@group(0) @binding(4) var<storage, read> gamma: array<Real>; // (C): scale
#if SUM_USED
@group(0) @binding(5) var<storage, read> dsum: array<Stored>; // (R, C): gradient that sum received from its other users
#endif
@group(0) @binding(6) var<storage, read_write> dx: array<Stored>; // (R, C): gradient of x
#if RESIDUAL
@group(0) @binding(7) var<storage, read_write> dresidual: array<Stored>; // (R, C): gradient of the residual
#endif

@compute @workgroup_size(64)
fn rms_norm_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = linear_group(wid, nwg) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let width = p.cols / VALUES; // elements of a row
    let first = row * width;
    let end = select(0u, width, row < p.rows);
    let rstd = stats[min(row, p.rows - 1u)];

    var product = Real(0.0);
    for (var c = lane; c < end; c += LANES) {
        product = fma(Real(dy[first + c]) * (gamma[c] + p.offset), Real(sum[first + c]) * rstd, product);
    }
    of_lanes[lid] = across(product);
    workgroupBarrier();
    var mean = 0.0;
    for (var k = 0u; k < LANES; k++) {
        mean += of_lanes[lid - lane + k];
    }
    mean /= f32(p.cols);

    for (var c = lane; c < end; c += LANES) {
        let i = first + c;
        var d = rstd * (Real(dy[i]) * (gamma[c] + p.offset) - Real(sum[i]) * rstd * mean);
#if SUM_USED
        d += Real(dsum[i]);
#endif
#if RESIDUAL
        var e = d;
        if p.accumulate_residual != 0u {
            e += Real(dresidual[i]);
        }
        dresidual[i] = Stored(e);
#endif
        if p.accumulate != 0u {
            d += Real(dx[i]);
        }
        dx[i] = Stored(d);
    }
}
