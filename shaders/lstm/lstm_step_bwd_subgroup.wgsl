// One time step of an LSTM layer's backward pass, by subgroup broadcast.
//
//   dh = dout[t] + carry_h (rows whose sequence is over) + W_hh^T dz' (dz' of the step after)
//   dc = carry_c + dh o (1 - tanh^2 c)         zero where the cell was clamped
//   dz = (dc g i (1-i), dc c' f (1-f), dc i (1-g^2), dh tanh(c) o (1-o))
//   carry_c = dc f,  carry_h = 0
//   A row whose sequence is over (t >= lens[b]) has dz = 0, carry_h = dh, and carry_c as it was.
//
// Source: the chain rule applied to lstm_step_fwd; Hochreiter and Schmidhuber 1997, with forget gates
// (Gers et al. 2000), in the form and gate order of PyTorch's nn.LSTM.
// Dispatch: (ceil(H / (4 TILE)), ceil(B / ROWS), 1) workgroups of TILE, in subgroups of 8
// lanes or more; one invocation has four units and ROWS rows.
// Passes: 1. W_hh (4H, H) comes in panels of 4 TILE columns (matmul_pack), KP = 4H rounded up to a
// multiple of 8. `gates` holds the activated gates and receives dz in their place; slots as in
// lstm_step_fwd. With only_dh = 1 just dh is computed, into carry_h: the gradient of the first h.
// IMAGE: W_hh and dz' are images, for CPU drivers (see matmul_image); H is a multiple of 64.
// Numerics: f32. Limits: subgroups of 8 lanes or more; 7 storage buffers, or 6 and 2 images; ROWS *
// TILE * 16 bytes of workgroup memory.
#const ROWS: u32 // rows of an invocation, a multiple of 4
#const TILE: u32 // invocations of a workgroup
const WG: u32 = TILE;
#include "lstm_bwd.wgsl"
#include "rows_broadcast.wgsl"

const QUADS: u32 = ROWS / 4u;

#if IMAGE
@group(0) @binding(1) var w: texture_storage_2d_array<rgba32float, read>; // (H / 64, 4H, 64): W_hh, 64 columns a layer
@group(0) @binding(8) var later: texture_storage_2d_array<rgba32float, read>; // (1, B, 4H): dz', a line for each row

// dz'[row, k .. k + 4] over the stacked gates.
fn next4(row: u32, k: u32) -> vec4<f32> {
    return textureLoad(later, vec2<u32>(k / 4u, min(row, p.batch - 1u)), 0u);
}

// Four columns of W_hh at k .. k + 8.
fn weights(unit: u32, k: u32) -> array<vec4<f32>, 8> {
    let x = (unit & 63u) / 4u;
    let layer = unit / 64u;
    return array<vec4<f32>, 8>(
        textureLoad(w, vec2<u32>(x, k), layer), textureLoad(w, vec2<u32>(x, k + 1u), layer),
        textureLoad(w, vec2<u32>(x, k + 2u), layer), textureLoad(w, vec2<u32>(x, k + 3u), layer),
        textureLoad(w, vec2<u32>(x, k + 4u), layer), textureLoad(w, vec2<u32>(x, k + 5u), layer),
        textureLoad(w, vec2<u32>(x, k + 6u), layer), textureLoad(w, vec2<u32>(x, k + 7u), layer));
}
#else
#include "lstm_bwd_buffers.wgsl"

// Four columns of W_hh at k .. k + 8.
fn weights(unit: u32, k: u32) -> array<vec4<f32>, 8> {
    let at = (unit / (4u * TILE) * padded() + k) * TILE + unit / 4u % TILE;
    return array<vec4<f32>, 8>(w[at], w[at + TILE], w[at + 2u * TILE], w[at + 3u * TILE],
        w[at + 4u * TILE], w[at + 5u * TILE], w[at + 6u * TILE], w[at + 7u * TILE]);
}
#endif

@compute @workgroup_size(TILE)
fn lstm_step_bwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    begin(0u);
    sound = soundness(lanes);
    let row0 = wid.y * ROWS;
    let unit = (wid.x * TILE + lid) * 4u;
    var acc = array<array<vec4<f32>, 4>, QUADS>();
    let end = select(0u, padded(), p.has_next == 1u);
    for (var k = 0u; k < end; k += 8u) {
        let panel = weights(unit, k);
        for (var q = 0u; q < QUADS; q++) {
            let block = next4(row0 + 4u * q + block_row(lane), k + block_column(lane));
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
    cells(row0, unit, lid);
}
