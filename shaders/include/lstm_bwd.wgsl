// What both forms of the backward LSTM step share: bindings, the read of dz' and the cell.
#include "math.wgsl"

struct Params {
    batch: u32,     // B
    hidden: u32,    // H
    t: u32,         // first time step
    steps: u32,     // time steps
    reverse: u32,   // 1: the forward pass went from the last time step to the first
    cell_clip: f32, // 0: none
    next: u32,      // time step processed after the first one going forward, when `has_next` = 1
    has_next: u32,  // 0: the first one was the last step processed
    has_dout: u32,  // 0: nothing arrived at the outputs
    only_dh: u32,   // 1: stop at dh
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> lens: array<u32>; // (B) u32
@group(0) @binding(3) var<storage, read> dout: array<f32>; // (T, B, H) f32
@group(0) @binding(4) var<storage, read> c: array<f32>; // (T + 1, B, H) f32
@group(0) @binding(5) var<storage, read_write> gates: array<vec4<f32>>; // (T, B, 4H) f32, in: activated, out: dz
@group(0) @binding(6) var<storage, read_write> carry_h: array<f32>; // (B, H) f32
@group(0) @binding(7) var<storage, read_write> carry_c: array<f32>; // (B, H) f32

// The product of each invocation's rows, four units in a vec4; see lstm_fwd.wgsl.
var<workgroup> sums: array<vec4<f32>, ROWS * WG>;

// The time step at hand; the one after it going forward; slots of h' and c', of h and c.
var<private> t: u32;
var<private> next: u32;
var<private> before: u32;
var<private> after: u32;

fn begin(step: u32) {
    t = select(p.t - step, p.t + step, p.reverse == 1u);
    next = select(select(t + 1u, t - 1u, p.reverse == 1u), p.next, step == 0u);
    before = t + p.reverse;
    after = t + 1u - p.reverse;
}

// The inner size: 4 H rounded up to a multiple of 8.
fn padded() -> u32 {
    return (p.hidden + 1u) / 2u * 8u;
}

fn cell(row: u32, unit: u32, product: f32) {
    let own = row * p.hidden + unit;
    var dh = carry_h[own] + product;
    if p.only_dh == 1u {
        carry_h[own] = dh;
        return;
    }
    if p.has_dout == 1u {
        dh += dout[(t * p.batch + row) * p.hidden + unit];
    }
    dh = flush(dh);
    let g0 = (t * p.batch + row) * 4u * p.hidden + unit;
    let g1 = g0 + p.hidden;
    let g2 = g1 + p.hidden;
    let g3 = g2 + p.hidden;
    let i = gates[g0 / 4u][g0 & 3u];
    let f = gates[g1 / 4u][g1 & 3u];
    let g = gates[g2 / 4u][g2 & 3u];
    let o = gates[g3 / 4u][g3 & 3u];
    let state = c[(after * p.batch + row) * p.hidden + unit];
    let c_before = c[(before * p.batch + row) * p.hidden + unit];
    let tc = tanh_stable(state);
    let passed = carry_c[own];
    var dc = flush(passed + dh * o * (1.0 - tc * tc));
    if p.cell_clip > 0.0 && abs(state) >= p.cell_clip {
        dc = 0.0;
    }
    let live = select(1.0, 0.0, t >= lens[row]);
    gates[g0 / 4u][g0 & 3u] = live * dc * g * i * (1.0 - i);
    gates[g1 / 4u][g1 & 3u] = live * dc * c_before * f * (1.0 - f);
    gates[g2 / 4u][g2 & 3u] = live * dc * i * (1.0 - g * g);
    gates[g3 / 4u][g3 & 3u] = live * dh * tc * o * (1.0 - o);
    carry_c[own] = select(passed, dc * f, live > 0.0);
    carry_h[own] = select(dh, 0.0, live > 0.0);
}

fn cells(row0: u32, unit: u32, lid: u32) {
    if unit < p.hidden {
        let rows = min(p.batch - row0, ROWS);
        let units = min(p.hidden - unit, 4u);
        for (var r = 0u; r < rows; r++) {
            let product = sums[r * WG + lid];
            for (var u = 0u; u < units; u++) {
                cell(row0 + r, unit + u, product[u]);
            }
        }
    }
}
