// Layer normalisation of rows, a residual added first; before that, dropout.
//
//   sum[r, :] = x[r, :] + residual[r, :]         without RESIDUAL sum is x itself
//   DROPOUT: x stands for drop(x), with the mask of dropout_fwd over (R C) elements
//   mean = sum over c of sum[r, c] / C,  rstd = 1 / sqrt(sum over c of (sum[r, c] - mean)^2 / C + eps)
//   y[r, c] = (sum[r, c] - mean) rstd gamma[c] + beta[c]
//
// Source: Ba et al. 2016, eq. 4; biased variance, as torch.nn.LayerNorm. Srivastava et al. 2014.
// Dispatch: ceil(R LANES / 64) workgroups of 64, folded; LANES neighbours share one row.
// Passes: 1 dispatch, each row read three times, the second and third from the cache.
// VEC4: four columns per element; C is a multiple of 4. F16: x, residual, sum and y hold f16, and
// what is normalised is the sum as it is stored; drop(x) is not rounded before the sum.
// Numerics: f32; variance from the deviations, not from squares that cancel; each lane sums every
//   LANES-th element, then the lanes in order: fixed order.
// DROPOUT only with RESIDUAL. Limits: 8 storage buffers, 512 bytes.
#include "linear.wgsl"
#include "stored.wgsl"
#include "row_lanes.wgsl"

struct Params {
    rows: u32,      // R
    cols: u32,      // C
    eps: f32,       // added to the variance
    layer: u32,     // tells this dropout's random stream from the model's others; DROPOUT only
    threshold: u32, // p 2^32 (kernels::philox::drop_threshold); DROPOUT only
    scale: f32,     // 1 / (1 - p); DROPOUT only
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (R, C): rows
@group(0) @binding(2) var<storage, read> gamma: array<Real>; // (C): scale
@group(0) @binding(3) var<storage, read> beta: array<Real>; // (C): shift
#if RESIDUAL
@group(0) @binding(4) var<storage, read> residual: array<Stored>; // (R, C): added to x
@group(0) @binding(5) var<storage, read_write> sum: array<Stored>; // (R, C): x + residual
#endif
@group(0) @binding(6) var<storage, read_write> y: array<Stored>; // (R, C): result
@group(0) @binding(7) var<storage, read_write> stats: array<vec2<f32>>; // (R): mean and 1 / standard deviation of each row
#if DROPOUT
@group(0) @binding(8) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
#include "row_dropout.wgsl"
#endif

@compute @workgroup_size(64)
fn layer_norm_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = linear_group(wid, nwg) * (WG / LANES) + lid / LANES;
    let lane = lid % LANES;
    let width = p.cols / VALUES; // elements of a row
    let first = row * width;
    let end = select(0u, width, row < p.rows);

    var total = Real(0.0);
    for (var c = lane; c < end; c += LANES) {
#if RESIDUAL
#if DROPOUT
        let added = Real(x[first + c]) * dropout_factor(first + c);
#else
        let added = Real(x[first + c]);
#endif
        let stored = Stored(added + Real(residual[first + c]));
        sum[first + c] = stored;
        let v = Real(stored);
#else
        let v = Real(x[first + c]);
#endif
        total += v;
    }
    of_lanes[lid] = across(total);
    workgroupBarrier();
    var mean = 0.0;
    for (var k = 0u; k < LANES; k++) {
        mean += of_lanes[lid - lane + k];
    }
    mean /= f32(p.cols);

    var squares = Real(0.0);
    for (var c = lane; c < end; c += LANES) {
#if RESIDUAL
        let d = Real(sum[first + c]) - mean;
#else
        let d = Real(x[first + c]) - mean;
#endif
        squares = fma(d, d, squares);
    }
    of_lanes_too[lid] = across(squares);
    workgroupBarrier();
    var variance = 0.0;
    for (var k = 0u; k < LANES; k++) {
        variance += of_lanes_too[lid - lane + k];
    }
    variance /= f32(p.cols);
    let rstd = 1.0 / sqrt(variance + p.eps);

    for (var c = lane; c < end; c += LANES) {
#if RESIDUAL
        let d = Real(sum[first + c]) - mean;
#else
        let d = Real(x[first + c]) - mean;
#endif
        y[first + c] = Stored(fma(d * rstd, gamma[c], beta[c]));
    }
    if end > 0u && lane == 0u {
        stats[row] = vec2<f32>(mean, rstd);
    }
}
