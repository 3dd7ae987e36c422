// Cross entropy of a chunk of logits rows, and its gradient in their place.
//
//   loss[r] = w (lse - (1 - e) z[t] - e mean(z)),   lse = log sum over v of exp z[v]
//   GRAD:   z[v] <- w (softmax(z)[v] - (1 - e) [v = t] - e / V)
//   ARGMAX: best[r] = the first v with the largest z[v]
//   z = logits[r, :], t = targets[r], w = weights[r], e = smoothing
//   rows with t >= V (such as 0xFFFFFFFF) or w = 0: loss 0, gradient 0, best 0xFFFFFFFF, logits not read
//
// `first` is the chunk's place in targets, weights, loss and best.
// Source: Bridle 1990; online sum: Milakov & Gimelshein 2018, algorithm 3; smoothing: Szegedy et
//   al. 2016, section 7, as torch.nn.CrossEntropyLoss(label_smoothing=e).
// Dispatch: R workgroups of WG (a power of two), folded; one row per workgroup.
// Passes: 1 dispatch; each row is read once, twice with GRAD.
// VEC4: logits hold four values per element; V and line are multiples of 4.
// Infinite or NaN logits make the row's loss and gradient infinite or NaN, on every driver.
// Numerics: maximum and sum in one sweep, one exp per element, tree in fixed order.
// Limits: 5 storage buffers, 16 WG bytes (12 WG without ARGMAX).
#include "linear.wgsl"
#include "math.wgsl"
#include "real.wgsl"
#const WG: u32 // invocations per row: a power of two, 32 to 256; few classes want few

struct Params {
    rows: u32,      // R of this chunk
    vocab: u32,     // V
    first: u32,     // first row of targets, weights, loss and best
    smoothing: f32, // e in [0, 1)
    line: u32,      // floats from one row of logits to the next, at least V
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> targets: array<u32>; // (first + R): class of each row; >= V: ignored
@group(0) @binding(2) var<storage, read> weights: array<f32>; // (first + R): weight of each row, such as 1/N; 0: ignored
@group(0) @binding(3) var<storage, read_write> logits: array<Real>; // (R, V): z, rows `line` apart; with GRAD its gradient afterwards
@group(0) @binding(4) var<storage, read_write> loss: array<f32>; // (first + R): weighted loss of each row
#if ARGMAX
@group(0) @binding(5) var<storage, read_write> best: array<u32>; // (first + R): predicted class of each row
#endif

const LOWEST = -3.4028234663852886e38;
const NONE = 0xffffffffu;

var<workgroup> lane_max: array<f32, WG>;
var<workgroup> lane_exp: array<f32, WG>; // sum of exp(z - lane_max)
var<workgroup> lane_sum: array<f32, WG>; // sum of z
#if ARGMAX
var<workgroup> lane_arg: array<u32, WG>;
#endif

#if VEC4
const LANES = 4u;

fn pick(z: Real, k: u32) -> f32 {
    return z[k];
}

fn first_equal(z: Real, peak: f32) -> u32 {
    return select(select(select(3u, 2u, z.z == peak), 1u, z.y == peak), 0u, z.x == peak);
}

fn one_hot(v: u32, t: u32) -> Real {
    return select(vec4<f32>(0.0), vec4<f32>(1.0), vec4<u32>(0u, 1u, 2u, 3u) + v * 4u == vec4<u32>(t));
}
#else
const LANES = 1u;

fn pick(z: Real, k: u32) -> f32 {
    return z;
}

fn first_equal(z: Real, peak: f32) -> u32 {
    return 0u;
}

fn one_hot(v: u32, t: u32) -> Real {
    return select(0.0, 1.0, v == t);
}
#endif

// exp(-|d|): the weight of the smaller of two maxima. The clamp keeps -3.4e38 from overflowing.
fn decay(d: f32) -> f32 {
    return exp(max(-abs(d), -87.0));
}

@compute @workgroup_size(WG)
fn softmax_xent(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let r = linear_group(wid, nwg);
    let in_chunk = r < p.rows;
    let at = p.first + select(0u, r, in_chunk);
    let t = targets[at];
    let w = weights[at];
    let used = in_chunk && t < p.vocab && w != 0.0;
    let width = p.vocab / LANES; // elements of a row
    let row = r * (p.line / LANES);
    let count = select(0u, width, used);

    var top = LOWEST;
    var sum_exp = 0.0;
    var sum = 0.0;
    var arg = NONE;
    for (var v = lid; v < count; v += WG) {
        let z = logits[row + v];
#if VEC4
        let peak = max(max(z.x, z.y), max(z.z, z.w));
        let next = max(top, peak);
        let e = exp(max(z - next, vec4<f32>(-87.0)));
        sum_exp = fma(sum_exp, decay(next - top), (e.x + e.y) + (e.z + e.w));
        sum += (z.x + z.y) + (z.z + z.w);
#else
        let peak = z;
        let e = decay(z - top);
        sum_exp = select(sum_exp + e, fma(sum_exp, e, 1.0), z > top);
        sum += z;
#endif
#if ARGMAX
        arg = select(arg, v * LANES + first_equal(z, peak), peak > top || arg == NONE);
#endif
        top = max(top, peak);
    }
    lane_max[lid] = top;
    lane_exp[lid] = sum_exp;
    lane_sum[lid] = sum;
#if ARGMAX
    lane_arg[lid] = arg;
#endif
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lid < half {
            let a = lane_max[lid];
            let b = lane_max[lid + half];
            let e = decay(a - b);
            let ea = select(1.0, e, b > a);
            let eb = select(e, 1.0, b > a);
            lane_exp[lid] = lane_exp[lid] * ea + lane_exp[lid + half] * eb;
            lane_sum[lid] += lane_sum[lid + half];
            lane_max[lid] = max(a, b);
#if ARGMAX
            let other = lane_arg[lid + half];
            if b > a || (b == a && other < lane_arg[lid]) {
                lane_arg[lid] = other;
            }
#endif
        }
        workgroupBarrier();
    }
    let row_max = lane_max[0];
    let row_exp = lane_exp[0];
    let spread = p.smoothing / f32(p.vocab);

    if lid == 0u && in_chunk {
        var l = 0.0;
        if used {
            // Relative to the maximum, so that large logits do not cancel.
            let hit = pick(logits[row + t / LANES], t % LANES) - row_max;
            let mean = lane_sum[0] / f32(p.vocab) - row_max;
            l = w * (log(row_exp) - (1.0 - p.smoothing) * hit - p.smoothing * mean);
        }
        // max() may drop a NaN; the plain sum does not.
        loss[at] = select(l, lane_sum[0], used && non_finite(lane_sum[0]));
#if ARGMAX
        best[at] = lane_arg[0];
#endif
    }
#if GRAD
    storageBarrier(); // lane 0 has read logits[t] before it is overwritten
    if in_chunk {
        let inverse = select(w / row_exp, lane_sum[0], non_finite(lane_sum[0]));
        let away = w * spread;
        for (var v = lid; v < width; v += WG) {
            var g = Real(0.0);
            if used {
                g = inverse * exp(max(logits[row + v] - row_max, Real(-87.0))) - away;
                g -= w * (1.0 - p.smoothing) * one_hot(v, t);
            }
            logits[row + v] = g;
        }
    }
#endif
}
