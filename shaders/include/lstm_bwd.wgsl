// What both forms of the backward LSTM step share: bindings and the cell's gradient.
#include "activation.wgsl"

struct Params {
    b: u32,        // batch rows
    h: u32,        // hidden units
    kp: u32,       // 4 h padded to a multiple of 8, or 0 at the last time step: no product
    t: u32,        // time step: the slot of gates, dout and dgates
    next: u32,     // slot of the dgates to multiply: the step after t in the order of time
    slot_in: u32,     // slot of the c before this step
    clip: f32,     // cell clip, none if 0
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dout: array<f32>; // (T, B, H) f32
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>; // (ceil(H / 4 WG), kp, WG, 4) f32, panels of W_hh
@group(0) @binding(3) var<storage, read> lens: array<u32>; // (B) u32
@group(0) @binding(4) var<storage, read> gates: array<vec4<f32>>; // (T, B, H, 4) f32, activated i, f, g, o
@group(0) @binding(5) var<storage, read> cs: array<f32>; // (T + 1, B, H) f32
@group(0) @binding(6) var<storage, read_write> dgates: array<vec4<f32>>; // (T, B, H, 4) f32, before activation
@group(0) @binding(7) var<storage, read_write> dh: array<f32>; // (B, H) f32, what passes rows by
@group(0) @binding(8) var<storage, read_write> dc: array<f32>; // (B, H) f32

// The next step's gate gradients of one row and unit, zero beyond H.
fn next4(row: u32, unit: u32) -> vec4<f32> {
    let at = (p.next * p.b + min(row, p.b - 1u)) * p.h + min(unit, p.h - 1u);
    return select(vec4<f32>(0.0), dgates[at], unit < p.h);
}

// Keeps dgates[next] W_hh of four units where the first of them will have its gradient; the
// cell then runs in a real loop over rows (see lstm_fwd.wgsl).
fn keep(row: u32, unit: u32, sum: vec4<f32>) {
    if row < p.b && unit < p.h {
        dgates[(p.t * p.b + row) * p.h + unit] = sum;
    }
}

fn cell(row: u32, unit: u32, product: f32) {
    let at = row * p.h + unit;
    let i = p.t * p.b * p.h + at;
    let dh_all = dout[i] + dh[at] + product;
    let s = gates[i];
    let c_old = cs[p.slot_in * p.b * p.h + at];
    var c = fma(s.y, c_old, s.x * s.z);
    var slope = 1.0;
    if p.clip > 0.0 {
        slope = select(0.0, 1.0, abs(c) <= p.clip);
        c = clamp(c, -p.clip, p.clip);
    }
    let tc = tanh_clamped(c);
    let dc_in = dc[at];
    let dc_all = slope * fma(dh_all * s.w, 1.0 - tc * tc, dc_in);
    let live = p.t < lens[row];
    let z = vec4<f32>(dc_all * s.z * s.x * (1.0 - s.x), dc_all * c_old * s.y * (1.0 - s.y),
                      dc_all * s.x * (1.0 - s.z * s.z), dh_all * tc * s.w * (1.0 - s.w));
    dgates[i] = select(vec4<f32>(0.0), z, live);
    dc[at] = select(dc_in, dc_all * s.y, live);
    dh[at] = select(dh_all, 0.0, live);
}

// Rows row0 .. row0 + rows of units unit .. unit + 4, as far as they exist.
fn cells(row0: u32, rows: u32, unit: u32) {
    if unit < p.h {
        let end = min(row0 + rows, p.b);
        let units = min(p.h - unit, 4u);
        for (var row = row0; row < end; row++) {
            let product = dgates[(p.t * p.b + row) * p.h + unit];
            for (var u = 0u; u < units; u++) {
                cell(row, unit + u, product[u]);
            }
        }
    }
}
