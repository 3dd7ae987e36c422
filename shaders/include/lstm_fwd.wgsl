// What both forms of the forward LSTM step share: bindings, the read of h and the cell.
#include "math.wgsl"

struct Params {
    batch: u32,     // B
    hidden: u32,    // H
    t: u32,         // first time step
    steps: u32,     // time steps
    reverse: u32,   // 1: from the last time step to the first
    cell_clip: f32, // 0: none
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> lens: array<u32>; // (B) u32
@group(0) @binding(3) var<storage, read_write> gates: array<f32>; // (T, B, 4H) f32, in: x, out: activated
#if VEC4
@group(0) @binding(4) var<storage, read_write> h: array<vec4<f32>>; // (T + 1, B, H) f32, H % 4 = 0
#else
@group(0) @binding(4) var<storage, read_write> h: array<f32>; // (T + 1, B, H) f32
#endif
@group(0) @binding(5) var<storage, read_write> c: array<f32>; // (T + 1, B, H) f32

// The product of each invocation's rows. No barriers: an invocation reads back only its own.
// The cell runs in a real loop over rows, which registers, having no index, would force the
// compiler to unroll into ROWS copies.
var<workgroup> sums: array<vec4<f32>, ROWS * WG>;

// The time step at hand; slots of h' and c', of h and c.
var<private> t: u32;
var<private> before: u32;
var<private> after: u32;

fn begin(step: u32) {
    t = select(p.t + step, p.t - step, p.reverse == 1u);
    before = t + p.reverse;
    after = t + 1u - p.reverse;
}

fn cell(row: u32, unit: u32, product: vec4<f32>) {
    let source = (before * p.batch + row) * p.hidden + unit;
    let target_at = (after * p.batch + row) * p.hidden + unit;
#if VEC4
    let h_before = h[source / 4u][source & 3u];
#else
    let h_before = h[source];
#endif
    let g0 = (t * p.batch + row) * 4u * p.hidden + unit;
    let g1 = g0 + p.hidden;
    let g2 = g1 + p.hidden;
    let g3 = g2 + p.hidden;
    let i = sigmoid(gates[g0] + product.x);
    let f = sigmoid(gates[g1] + product.y);
    let g = tanh_stable(gates[g2] + product.z);
    let o = sigmoid(gates[g3] + product.w);
    gates[g0] = i;
    gates[g1] = f;
    gates[g2] = g;
    gates[g3] = o;
    let c_before = c[source];
    var state = fma(f, c_before, i * g);
    if p.cell_clip > 0.0 {
        state = clamp(state, -p.cell_clip, p.cell_clip);
    }
    let over = t >= lens[row];
    c[target_at] = select(state, c_before, over);
    let out = select(o * tanh_stable(state), h_before, over);
#if VEC4
    h[target_at / 4u][target_at & 3u] = out;
#else
    h[target_at] = out;
#endif
}

fn cells(row0: u32, unit: u32, lid: u32) {
    if unit < p.hidden {
        let rows = min(p.batch - row0, ROWS);
        for (var r = 0u; r < rows; r++) {
            cell(row0 + r, unit, sums[r * WG + lid]);
        }
    }
}
