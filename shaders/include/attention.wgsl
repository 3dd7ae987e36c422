// What the attention kernels share: sizes, the inputs, which keys a query sees, the dropout mask.
//
// q, k and v are matrices of rows (B, T) or (B, S) and of NH D columns, each at its own place in
// rows that may hold more: (B, T, 3C) packs all three. NH / KH heads of q share a head of k and v
// (Ainslie et al. 2023, grouped-query attention). F16: these, the result and all gradients hold
// f16; what is computed is f32. IMAGE: q, k, v and the upstream gradient are images, a line for each
// row, of heads of a multiple of 4 columns; CPU drivers read those faster (see matmul_image).
#include "stored.wgsl"
#if SOFTCAP
#include "math.wgsl"
#endif
#include "philox.wgsl"

struct Params {
    queries: u32,      // T
    keys: u32,         // S
    heads: u32,        // NH
    group: u32,        // NH / KH: heads of q that share a head of k and v
    width: u32,        // D
    q_row: u32,        // floats from one row of q to the next
    q_first: u32,      // column of q's first head
    k_row: u32,        // floats from one row of k to the next
    k_first: u32,      // column of k's first head
    v_row: u32,        // floats from one row of v to the next
    v_first: u32,      // column of v's first head
    blocks: u32,       // workgroups that share the D columns of a result: ceil(D / COLS)
    causal: u32,       // 1: a query sees no later key
    window: u32,       // keys that a query sees at most, its own the last of them; causal only
    lens_at: u32,      // LENS: where lens begins in control: 8 with DROPOUT, else 0
    starts_at: u32,    // STARTS: where starts begins in control: behind lens
    layer: u32,        // tells this dropout's random stream from the model's others
    threshold: u32,    // p 2^16; DROPOUT only
    accumulate: u32,   // 1: add to dq, or to dk
    accumulate_v: u32, // 1: add to dv
    scale: f32,        // factor of the scores, 1 / sqrt(D)
    cap: f32,          // bound of the scores; SOFTCAP only
    keep: f32,         // 1 / (1 - p); DROPOUT only
    first_row: u32,    // first of the queries (dkv: of the keys) of this dispatch, a multiple of 32
    rows: u32,         // queries (dkv: keys) of this dispatch; the grid says the same in tiles
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(4) var<storage, read> control: array<u32>; // (lens_at + B + B T): with DROPOUT the 8 words of the step state, with LENS lens, with STARTS starts (B, T); any buffer if none

// The score of a masked key. A running maximum starts above it, so that its exponential is 0.
const MASKED: f32 = -3.4028234663852886e38;
const NO_SCORE: f32 = -1e30;
const LOG2E: f32 = 1.4426950408889634;

// Keys that count in one row of the batch.
fn valid_keys(batch: u32) -> u32 {
#if LENS
    return min(control[p.lens_at + batch], p.keys);
#else
    return p.keys;
#endif
}

// Keys that come before query 0: those of a cache.
fn cached(valid: u32) -> u32 {
    return max(valid, p.queries) - p.queries;
}

// How many keys, counted from the first, each of four queries sees.
fn seen(t: vec4<u32>, valid: u32) -> vec4<u32> {
    let all = vec4<u32>(valid);
    return select(all, min(all, t + 1u + cached(valid)), vec4<bool>(p.causal != 0u));
}

// The first key that each of four queries sees.
fn unseen(batch: u32, t: vec4<u32>, valid: u32) -> vec4<u32> {
    let after = t + 1u + cached(valid);
    let near = select(vec4<u32>(0u), max(after, vec4<u32>(p.window)) - p.window, vec4<bool>(p.causal != 0u));
#if STARTS
    let row = p.starts_at + batch * p.queries;
    let at = row + min(t, vec4<u32>(p.queries - 1u));
    return max(near, vec4<u32>(control[at.x], control[at.y], control[at.z], control[at.w]));
#else
    return near;
#endif
}

// Which of four keys are between the first that a query sees and the first that it does not.
fn between(key: vec4<u32>, low: vec4<u32>, high: vec4<u32>) -> vec4<bool> {
    return key - low < max(high, low) - low;
}

// Scores of q . k, in powers of two.
fn scores(dots: vec4<f32>) -> vec4<f32> {
#if SOFTCAP
    return LOG2E * p.cap * bounded(dots);
#else
    return dots * vec4<f32>(p.scale * LOG2E);
#endif
}

// What the gradients of scores are multiplied by for those of q . k.
fn slopes(dots: vec4<f32>) -> vec4<f32> {
#if SOFTCAP
    let t = bounded(dots);
    return p.scale * (1.0 - t * t);
#else
    return vec4<f32>(p.scale);
#endif
}

#if SOFTCAP
// Of scores bounded by cap tanh(score / cap), the tanh (Bello et al. 2016, logit clipping).
fn bounded(dots: vec4<f32>) -> vec4<f32> {
    let x = dots * (p.scale / p.cap);
    return vec4<f32>(tanh_stable(x.x), tanh_stable(x.y), tanh_stable(x.z), tanh_stable(x.w));
}
#endif

// 2^x for x <= 0, or a rounding error above it. Far below, 0: the next product would be a denormal
// number, and CPU drivers are slow on those.
fn power(x: vec4<f32>) -> vec4<f32> {
    return select(exp2(max(x, vec4<f32>(-126.0))), vec4<f32>(0.0), x < vec4<f32>(-100.0));
}

// The numbers of the four columns from `column` on.
fn columns(column: u32) -> vec4<u32> {
    return column + vec4<u32>(0u, 1u, 2u, 3u);
}

// Where a row of a head begins, in floats.
fn q_base(batch: u32, head: u32, t: u32) -> u32 {
    return (batch * p.queries + min(t, p.queries - 1u)) * p.q_row + p.q_first + head * p.width;
}

fn k_base(batch: u32, head: u32, s: u32) -> u32 {
    return (batch * p.keys + min(s, p.keys - 1u)) * p.k_row + p.k_first + head / p.group * p.width;
}

fn v_base(batch: u32, head: u32, s: u32) -> u32 {
    return (batch * p.keys + min(s, p.keys - 1u)) * p.v_row + p.v_first + head / p.group * p.width;
}

#if IMAGE
#if F16
alias Source = texture_storage_2d_array<rgba16float, read>;
#else
alias Source = texture_storage_2d_array<rgba32float, read>;
#endif
@group(0) @binding(1) var q: Source; // (B, T, q_row): a line for each row: queries, at column q_first
@group(0) @binding(2) var k: Source; // (B, S, k_row): a line for each row: keys, at column k_first
@group(0) @binding(3) var v: Source; // (B, S, v_row): a line for each row: values, at column v_first

// A line and a texel in it: where a row of a head begins for q4, k4 and v4.
fn place(line: u32, column: u32) -> u32 {
    return (line << 16u) | (column / 4u);
}

fn q_place(batch: u32, head: u32, t: u32) -> u32 {
    return place(batch * p.queries + min(t, p.queries - 1u), p.q_first + head * p.width);
}

fn k_place(batch: u32, head: u32, s: u32) -> u32 {
    return place(batch * p.keys + min(s, p.keys - 1u), p.k_first + head / p.group * p.width);
}

fn v_place(batch: u32, head: u32, s: u32) -> u32 {
    return place(batch * p.keys + min(s, p.keys - 1u), p.v_first + head / p.group * p.width);
}

// The texel of columns d .. d + 4 of the row at a place; they are zero beyond column D.
fn texel(at: u32, d: u32) -> vec2<u32> {
    return vec2<u32>((at & 0xffffu) + min(d, p.width - 4u) / 4u, at >> 16u);
}

fn q4(at: u32, d: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), textureLoad(q, texel(at, d), 0u), d < p.width);
}

fn k4(at: u32, d: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), textureLoad(k, texel(at, d), 0u), d < p.width);
}

fn v4(at: u32, d: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), textureLoad(v, texel(at, d), 0u), d < p.width);
}
#else
@group(0) @binding(1) var<storage, read> q: array<Stored>; // (B, T, q_row): queries, at column q_first
@group(0) @binding(2) var<storage, read> k: array<Stored>; // (B, S, k_row): keys, at column k_first
@group(0) @binding(3) var<storage, read> v: array<Stored>; // (B, S, v_row): values, at column v_first

fn q_place(batch: u32, head: u32, t: u32) -> u32 {
    return q_base(batch, head, t);
}

fn k_place(batch: u32, head: u32, s: u32) -> u32 {
    return k_base(batch, head, s);
}

fn v_place(batch: u32, head: u32, s: u32) -> u32 {
    return v_base(batch, head, s);
}

// Columns d .. d + 4 of the row at a place, zero beyond column D.
fn q4(base: u32, d: u32) -> vec4<f32> {
#if VEC4
    return select(vec4<f32>(0.0), Real(q[(base + min(d, p.width - 4u)) / 4u]), d < p.width);
#else
    let i = base + min(columns(d), vec4<u32>(p.width - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(vec4(q[i.x], q[i.y], q[i.z], q[i.w])), columns(d) < vec4<u32>(p.width));
#endif
}

fn k4(base: u32, d: u32) -> vec4<f32> {
#if VEC4
    return select(vec4<f32>(0.0), Real(k[(base + min(d, p.width - 4u)) / 4u]), d < p.width);
#else
    let i = base + min(columns(d), vec4<u32>(p.width - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(vec4(k[i.x], k[i.y], k[i.z], k[i.w])), columns(d) < vec4<u32>(p.width));
#endif
}

fn v4(base: u32, d: u32) -> vec4<f32> {
#if VEC4
    return select(vec4<f32>(0.0), Real(v[(base + min(d, p.width - 4u)) / 4u]), d < p.width);
#else
    let i = base + min(columns(d), vec4<u32>(p.width - 1u));
    return select(vec4<f32>(0.0), vec4<f32>(vec4(v[i.x], v[i.y], v[i.z], v[i.w])), columns(d) < vec4<u32>(p.width));
#endif
}
#endif

// Sixteen random bits for each of two queries (t even, t + 1) and four keys (s a multiple of 4):
// the low halves are those of t. `sequence` counts heads over the batch.
fn random_bits(sequence: u32, t: u32, s: u32) -> vec4<u32> {
    let block = (t / 2u) * ((p.keys + 3u) / 4u) + s / 4u;
    let counter = vec4<u32>(block, p.layer, control[1], sequence);
    return philox(counter, vec2<u32>(control[2], control[3]));
}

// Factors of dropout for sixteen random bits each.
fn kept(bits: vec4<u32>) -> vec4<f32> {
    return select(vec4<f32>(p.keep), vec4<f32>(0.0), (bits & vec4<u32>(0xffffu)) < vec4<u32>(p.threshold));
}
