// One time step of an LSTM layer's backward pass, from the last step processed to the first.
//
//   dh  = dout_t + carry_h (rows whose sequence is over) + W_hhᵀ·dz' (dz' of the step after)
//   dc  = carry_c + dh∘o∘(1 − tanh²c)          zero where the clamp bit
//   dz  = (dc∘g∘i(1−i), dc∘c'∘f(1−f), dc∘i∘(1−g²), dh∘tanh(c)∘o(1−o))
//   carry_c = dc∘f,  carry_h = 0
// A row whose sequence is over (t >= lens[b]) has dz = 0, carry_h = dh, and carry_c as it was.
//
// Source: the chain rule applied to lstm_step_fwd; PyTorch's nn.LSTM agrees.
// Dispatch: (ceil(H / 32), ceil(B / 8)) workgroups of 32; an invocation has one unit, 8 rows.
// `gates` holds the activated gates and receives dz in their place; slots as in lstm_step_fwd.
// With only_dh = 1 just dh is computed, into carry_h: the gradient of the first h.
#include "math.wgsl"

const ROWS: u32 = 8u;

struct Params {
    batch: u32,     // B
    hidden: u32,    // H
    t: u32,         // time step
    before: u32,    // slot of h' and c'
    after: u32,     // slot of h and c
    cell_clip: f32, // 0: none
    next: u32,      // time step processed after t going forward, when `has_next` = 1
    has_next: u32,  // 0: t was the last step processed
    has_dout: u32,  // 0: nothing arrived at the outputs
    only_dh: u32,   // 1: stop at dh
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // (ceil(H / 32), H, 32) vec4<f32>, packed backward
@group(0) @binding(2) var<storage, read> lens: array<u32>; // (B) u32
@group(0) @binding(3) var<storage, read> dout: array<f32>; // (T, B, H) f32
@group(0) @binding(4) var<storage, read> c: array<f32>; // (T + 1, B, H) f32
@group(0) @binding(5) var<storage, read_write> gates: array<f32>; // (T, B, 4H) f32, in: activated, out: dz
@group(0) @binding(6) var<storage, read_write> carry_h: array<f32>; // (B, H) f32
@group(0) @binding(7) var<storage, read_write> carry_c: array<f32>; // (B, H) f32

@compute @workgroup_size(32)
fn lstm_step_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let unit = wid.x * 32u + lid;
    let row0 = wid.y * ROWS;
    var acc: array<vec4<f32>, ROWS>;
    if p.has_next == 1u {
        var first: array<u32, ROWS>;
        for (var r = 0u; r < ROWS; r++) {
            first[r] = (p.next * p.batch + min(row0 + r, p.batch - 1u)) * 4u * p.hidden;
        }
        var at = wid.x * p.hidden * 32u + lid;
        let h1 = p.hidden;
        let h2 = 2u * p.hidden;
        let h3 = 3u * p.hidden;
        for (var k = 0u; k < p.hidden; k++) {
            let weight = w[at];
            at += 32u;
            for (var r = 0u; r < ROWS; r++) {
                let z = first[r] + k;
                acc[r] = fma(vec4(gates[z], gates[z + h1], gates[z + h2], gates[z + h3]), weight, acc[r]);
            }
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
        let own = row * p.hidden + unit;
        var dh = carry_h[own] + dot(acc[r], vec4(1.0));
        if p.only_dh == 1u {
            carry_h[own] = dh;
            continue;
        }
        if p.has_dout == 1u {
            dh += dout[(p.t * p.batch + row) * p.hidden + unit];
        }
        let g0 = (p.t * p.batch + row) * 4u * p.hidden + unit;
        let g1 = g0 + p.hidden;
        let g2 = g1 + p.hidden;
        let g3 = g2 + p.hidden;
        if p.t >= lens[row] {
            gates[g0] = 0.0;
            gates[g1] = 0.0;
            gates[g2] = 0.0;
            gates[g3] = 0.0;
            carry_h[own] = dh;
            continue;
        }
        let gi = gates[g0];
        let gf = gates[g1];
        let gg = gates[g2];
        let go = gates[g3];
        let cell = c[(p.after * p.batch + row) * p.hidden + unit];
        let cell_before = c[(p.before * p.batch + row) * p.hidden + unit];
        let tc = tanh_stable(cell);
        var dc = carry_c[own] + dh * go * (1.0 - tc * tc);
        if p.cell_clip > 0.0 && abs(cell) >= p.cell_clip {
            dc = 0.0;
        }
        gates[g0] = dc * gg * gi * (1.0 - gi);
        gates[g1] = dc * cell_before * gf * (1.0 - gf);
        gates[g2] = dc * gi * (1.0 - gg * gg);
        gates[g3] = dh * tc * go * (1.0 - go);
        carry_c[own] = dc * gf;
        carry_h[own] = 0.0;
    }
}
