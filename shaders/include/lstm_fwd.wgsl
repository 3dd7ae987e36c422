// What both forms of the forward LSTM step share: bindings, the read of h and the cell.
#include "activation.wgsl"

struct Params {
    b: u32,    // batch rows
    h: u32,    // hidden units
    kp: u32,   // h padded to a multiple of 8
    t: u32,    // time step: the slot of xproj and gates
    slot_in: u32, // slot of the previous h and c
    slot_out: u32, // slot of the new h and c
    clip: f32, // cell clip, none if 0
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> xproj: array<vec4<f32>>; // (T, B, H, 4) f32, x W_ih + both biases
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>; // (ceil(H / TILE), kp, TILE, 4) f32, panels of W_hh
@group(0) @binding(3) var<storage, read> lens: array<u32>; // (B) u32
@group(0) @binding(4) var<storage, read_write> gates: array<vec4<f32>>; // (T, B, H, 4) f32, activated i, f, g, o
#if VEC4
@group(0) @binding(5) var<storage, read_write> hs: array<vec4<f32>>; // (T + 1, B, H) f32, H % 4 = 0
#else
@group(0) @binding(5) var<storage, read_write> hs: array<f32>; // (T + 1, B, H) f32
#endif
@group(0) @binding(6) var<storage, read_write> cs: array<f32>; // (T + 1, B, H) f32

// Columns k .. k + 4 of the previous h of one row, zero beyond H.
fn previous4(row: u32, k: u32) -> vec4<f32> {
    let base = (p.slot_in * p.b + min(row, p.b - 1u)) * p.h;
#if VEC4
    return select(vec4<f32>(0.0), hs[(base + min(k, p.h - 4u)) / 4u], k < p.h);
#else
    let last = p.h - 1u;
    let v = vec4<f32>(hs[base + min(k, last)], hs[base + min(k + 1u, last)],
                      hs[base + min(k + 2u, last)], hs[base + min(k + 3u, last)]);
    return select(vec4<f32>(0.0), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.h));
#endif
}

fn previous(i: u32) -> f32 {
#if VEC4
    return hs[i / 4u][i & 3u];
#else
    return hs[i];
#endif
}

// Keeps h W_hh of one row where its gates will stand. The cell then runs in a real loop over
// rows, which compiles many times faster than the unrolled one that registers would need.
fn keep(row: u32, unit: u32, sum: vec4<f32>) {
    if row < p.b && unit < p.h {
        gates[(p.t * p.b + row) * p.h + unit] = sum;
    }
}

fn cell(row: u32, unit: u32) {
    let at = row * p.h + unit;
    let i = p.t * p.b * p.h + at;
    let old = p.slot_in * p.b * p.h + at;
    let now = p.slot_out * p.b * p.h + at;
    let z = gates[i] + xproj[i];
    let s = sigmoid4(z);
    let g = tanh_clamped(z.z);
    let c_old = cs[old];
    var c = fma(s.y, c_old, s.x * g);
    if p.clip > 0.0 {
        c = clamp(c, -p.clip, p.clip);
    }
    let live = p.t < lens[row];
    gates[i] = vec4<f32>(s.x, s.y, g, s.w);
    cs[now] = select(c_old, c, live);
    let h = select(previous(old), s.w * tanh_clamped(c), live);
#if VEC4
    hs[now / 4u][now & 3u] = h;
#else
    hs[now] = h;
#endif
}

fn cells(row0: u32, rows: u32, unit: u32) {
    if unit < p.h {
        let end = min(row0 + rows, p.b);
        for (var row = row0; row < end; row++) {
            cell(row, unit);
        }
    }
}
