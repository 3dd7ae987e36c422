// One time step of an LSTM layer, by subgroup broadcast.
//
//   (i, f, g, o) = (sigmoid, sigmoid, tanh, sigmoid)(x + W_hh h')   x = W_ih x_t + biases, precomputed
//   c = f c' + i g, clamped to +-cell_clip when that is > 0;   h = o tanh(c)
//   A row whose sequence is over (t >= lens[b]) keeps h' and c'.
//
// Source: Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000), in the form and
// gate order of PyTorch's nn.LSTM.
// Dispatch: (ceil(H / TILE), ceil(B / ROWS), 1) workgroups of TILE, in subgroups of 8 lanes or
// more; one invocation has one unit (its four gates in a vec4) and ROWS rows. KP is H rounded up to a
// multiple of 8.
// Passes: 1. Saved for the backward: the activated gates and all states. T + 1 slots of h
// and c let one kernel run in both directions.
// IMAGE: W_hh and h' are images, for CPU drivers (see matmul_image); H is a multiple of 64.
// Numerics: f32. Limits: subgroups of 8 lanes or more; 5 storage buffers, or 4 and 2 images; ROWS * TILE * 16 bytes
// of workgroup memory.
#const ROWS: u32 // rows of an invocation, a multiple of 4
#const TILE: u32 // invocations of a workgroup
const WG: u32 = TILE;
#include "lstm_fwd.wgsl"
#include "rows_broadcast.wgsl"

const QUADS: u32 = ROWS / 4u;

// Inner size of a panel: H rounded up to a multiple of 8.
fn padded() -> u32 {
    return (p.hidden + 7u) / 8u * 8u;
}

#if IMAGE
@group(0) @binding(1) var w: texture_storage_2d_array<rgba32float, read>; // (1, 4H, H): W_hh as it lies
@group(0) @binding(6) var previous: texture_storage_2d_array<rgba32float, read>; // (1, B, H): h', a line for each row

// h'[row, k .. k + 4].
fn previous4(row: u32, k: u32) -> vec4<f32> {
    return textureLoad(previous, vec2<u32>(k / 4u, min(row, p.batch - 1u)), 0u);
}

// The gates of a unit at k .. k + 8.
fn weights(unit: u32, k: u32) -> array<vec4<f32>, 8> {
    // W_hh as it lies: a fetch brings one gate at four steps of k.
    let line = min(unit, p.hidden - 1u);
    let x = k / 4u;
    let i0 = textureLoad(w, vec2<u32>(x, line), 0u);
    let f0 = textureLoad(w, vec2<u32>(x, line + p.hidden), 0u);
    let g0 = textureLoad(w, vec2<u32>(x, line + 2u * p.hidden), 0u);
    let o0 = textureLoad(w, vec2<u32>(x, line + 3u * p.hidden), 0u);
    let i1 = textureLoad(w, vec2<u32>(x + 1u, line), 0u);
    let f1 = textureLoad(w, vec2<u32>(x + 1u, line + p.hidden), 0u);
    let g1 = textureLoad(w, vec2<u32>(x + 1u, line + 2u * p.hidden), 0u);
    let o1 = textureLoad(w, vec2<u32>(x + 1u, line + 3u * p.hidden), 0u);
    return array<vec4<f32>, 8>(
        vec4<f32>(i0.x, f0.x, g0.x, o0.x), vec4<f32>(i0.y, f0.y, g0.y, o0.y),
        vec4<f32>(i0.z, f0.z, g0.z, o0.z), vec4<f32>(i0.w, f0.w, g0.w, o0.w),
        vec4<f32>(i1.x, f1.x, g1.x, o1.x), vec4<f32>(i1.y, f1.y, g1.y, o1.y),
        vec4<f32>(i1.z, f1.z, g1.z, o1.z), vec4<f32>(i1.w, f1.w, g1.w, o1.w));
}
#else
#include "lstm_fwd_buffers.wgsl"

// The gates of a unit at k .. k + 8.
fn weights(unit: u32, k: u32) -> array<vec4<f32>, 8> {
    let at = (unit / TILE * padded() + k) * TILE + unit % TILE;
    return array<vec4<f32>, 8>(w[at], w[at + TILE], w[at + 2u * TILE], w[at + 3u * TILE],
        w[at + 4u * TILE], w[at + 5u * TILE], w[at + 6u * TILE], w[at + 7u * TILE]);
}
#endif

@compute @workgroup_size(TILE)
fn lstm_step_fwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    begin(0u);
    sound = soundness(lanes);
    let row0 = wid.y * ROWS;
    let unit = wid.x * TILE + lid;
    let kp = padded();
    var acc = array<array<vec4<f32>, 4>, QUADS>();
    for (var k = 0u; k < kp; k += 8u) {
        let panel = weights(unit, k);
        for (var q = 0u; q < QUADS; q++) {
            let block = previous4(row0 + 4u * q + block_row(lane), k + block_column(lane));
            acc[q] = multiply_block(block, panel, acc[q]);
        }
    }
    for (var q = 0u; q < QUADS; q++) {
        let own = 4u * q * TILE + lid;
        sums[own] = acc[q][0];
        sums[own + TILE] = acc[q][1];
        sums[own + 2u * TILE] = acc[q][2];
        sums[own + 3u * TILE] = acc[q][3];
    }
    cells(row0, wid.x * TILE, lid);
}
