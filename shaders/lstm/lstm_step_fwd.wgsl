// One time step of an LSTM layer.
//
//   (i, f, g, o) = (σ, σ, tanh, σ)(x + W_hh·h')      x = W_ih·x_t + b_ih + b_hh, precomputed
//   c = f∘c' + i∘g,  clamped to ±cell_clip when that is > 0
//   h = o∘tanh(c)
// A row whose sequence is over (t >= lens[b]) keeps h' and c'.
//
// Source: Hochreiter & Schmidhuber 1997, with forget gates (Gers et al. 2000), in the form and
// gate order of PyTorch's nn.LSTM.
// Dispatch: (ceil(H / 32), ceil(B / 8)) workgroups of 32; an invocation has one unit, 8 rows.
// Saved for the backward: the activated gates and all states. Passes: 1.
// The slots of h and c let one kernel run in both directions: it reads slot `before`, writes `after`.
#include "math.wgsl"

const ROWS: u32 = 8u;

struct Params {
    batch: u32,     // B
    hidden: u32,    // H
    t: u32,         // time step
    before: u32,    // slot of h' and c'
    after: u32,     // slot of h and c
    cell_clip: f32, // 0: none
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // (ceil(H / 32), H, 32) vec4<f32>, packed
@group(0) @binding(2) var<storage, read> lens: array<u32>; // (B) u32
@group(0) @binding(3) var<storage, read_write> gates: array<f32>; // (T, B, 4H) f32, in: x, out: activated
@group(0) @binding(4) var<storage, read_write> h: array<f32>; // (T + 1, B, H) f32
@group(0) @binding(5) var<storage, read_write> c: array<f32>; // (T + 1, B, H) f32

@compute @workgroup_size(32)
fn lstm_step_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let unit = wid.x * 32u + lid;
    let row0 = wid.y * ROWS;
    var acc: array<vec4<f32>, ROWS>;
    var first: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        // Rows past the batch repeat the last one and are not written.
        first[r] = (p.before * p.batch + min(row0 + r, p.batch - 1u)) * p.hidden;
    }
    var at = wid.x * p.hidden * 32u + lid;
    for (var k = 0u; k < p.hidden; k++) {
        let weight = w[at];
        at += 32u;
        for (var r = 0u; r < ROWS; r++) {
            acc[r] = fma(vec4(h[first[r] + k]), weight, acc[r]);
        }
    }
    if unit >= p.hidden {
        return;
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + r;
        if row >= p.batch {
            break;
        }
        let source = first[r] + unit;
        let target_at = (p.after * p.batch + row) * p.hidden + unit;
        if p.t >= lens[row] {
            h[target_at] = h[source];
            c[target_at] = c[source];
            continue;
        }
        let g0 = (p.t * p.batch + row) * 4u * p.hidden + unit;
        let g1 = g0 + p.hidden;
        let g2 = g1 + p.hidden;
        let g3 = g2 + p.hidden;
        let pre = acc[r] + vec4(gates[g0], gates[g1], gates[g2], gates[g3]);
        let i = sigmoid(pre.x);
        let f = sigmoid(pre.y);
        let g = tanh_stable(pre.z);
        let o = sigmoid(pre.w);
        var cell = fma(f, c[source], i * g);
        if p.cell_clip > 0.0 {
            cell = clamp(cell, -p.cell_clip, p.cell_clip);
        }
        gates[g0] = i;
        gates[g1] = f;
        gates[g2] = g;
        gates[g3] = o;
        c[target_at] = cell;
        h[target_at] = o * tanh_stable(cell);
    }
}
