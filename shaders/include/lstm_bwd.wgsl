// What both forms of the backward LSTM step share: bindings, the read of dz' and the cell.
#include "lstm_units.wgsl"

struct Params {
    batch: u32,     // B
    hidden: u32,    // H
    t: u32,         // first time step
    steps: u32,     // time steps; 1 unless PERSISTENT
    reverse: u32,   // 1: the forward pass goes from the last time step to the first
    cell_clip: f32, // the cell is clamped to this; 0: none
    next: u32,      // time step processed after the first one going forward, when has_next = 1
    has_next: u32,  // 0: the first one was the last step processed
    has_dout: u32,  // 0: nothing arrived at the outputs, dout is not read
    only_dh: u32,   // 1: stop at dh, into carry_h
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> lens: array<u32>; // (B): time steps of each row
@group(0) @binding(3) var<storage, read> dout: array<Units>; // (T, B, H): gradient of the outputs; any buffer if has_dout = 0
@group(0) @binding(4) var<storage, read> c: array<Units>; // (T + 1, B, H): cells
@group(0) @binding(5) var<storage, read_write> gates: array<vec4<f32>>; // (T, B, 4H): in: activated gates, out: gradients before the activations (dz)
@group(0) @binding(6) var<storage, read_write> carry_h: array<Units>; // (B, H): gradient of h, kept for rows whose sequence is over
@group(0) @binding(7) var<storage, read_write> carry_c: array<Units>; // (B, H): gradient of the cell

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

#if VEC4
fn gate(at: u32) -> Units {
    return gates[at / 4u];
}

fn set_gate(at: u32, v: Units) {
    gates[at / 4u] = v;
}

fn flushed(x: Units) -> Units {
    return vec4<f32>(flush(x.x), flush(x.y), flush(x.z), flush(x.w));
}
#else
fn gate(at: u32) -> Units {
    return gates[at / 4u][at & 3u];
}

fn set_gate(at: u32, v: Units) {
    gates[at / 4u][at & 3u] = v;
}

fn flushed(x: Units) -> Units {
    return flush(x);
}
#endif

fn cell(row: u32, unit: u32, product: Units) {
    let own = (row * p.hidden + unit) / UNITS;
    var dh = carry_h[own] + product;
    if p.only_dh == 1u {
        carry_h[own] = sound * dh;
        return;
    }
    // (B, H)
    let state_len = p.batch * p.hidden / UNITS;
    if p.has_dout == 1u {
        dh += dout[t * state_len + own];
    }
    dh = flushed(dh);
    let g0 = (t * p.batch + row) * 4u * p.hidden + unit;
    let g1 = g0 + p.hidden;
    let g2 = g1 + p.hidden;
    let g3 = g2 + p.hidden;
    let i = gate(g0);
    let f = gate(g1);
    let g = gate(g2);
    let o = gate(g3);
    let state = c[after * state_len + own];
    let c_before = c[before * state_len + own];
    let tc = tanh_of(state);
    let passed = carry_c[own];
    var dc = flushed(passed + dh * o * (1.0 - tc * tc));
    if p.cell_clip > 0.0 {
        dc = select(dc, Units(0.0), abs(state) >= Units(p.cell_clip));
    }
    let over = t >= lens[row];
    let live = sound * select(1.0, 0.0, over);
    set_gate(g0, live * dc * g * i * (1.0 - i));
    set_gate(g1, live * dc * c_before * f * (1.0 - f));
    set_gate(g2, live * dc * i * (1.0 - g * g));
    set_gate(g3, live * dh * tc * o * (1.0 - o));
    carry_c[own] = sound * select(dc * f, passed, over);
    carry_h[own] = sound * select(Units(0.0), dh, over);
}

fn cells(row0: u32, unit: u32, lid: u32) {
    if unit < p.hidden {
        let rows = min(p.batch - row0, ROWS);
        for (var r = 0u; r < rows; r++) {
            let product = sums[r * WG + lid];
#if VEC4
            cell(row0 + r, unit, product);
#else
            let units = min(p.hidden - unit, 4u);
            for (var u = 0u; u < units; u++) {
                cell(row0 + r, unit + u, product[u]);
            }
#endif
        }
    }
}
