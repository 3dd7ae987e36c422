// One time step of an LSTM layer, by subgroup broadcast.
//
//   (i, f, g, o) = (sigmoid, sigmoid, tanh, sigmoid)(x + W_hh h')   x = W_ih x_t + biases, precomputed
//   c = f c' + i g, clamped to +-cell_clip when that is > 0;   h = o tanh(c)
//   A row whose sequence is over (t >= lens[b]) keeps h' and c'.
//
// Source: Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000), in the form and
// gate order of PyTorch's nn.LSTM.
// Dispatch: (ceil(H / TILE), ceil(B / ROWS), 1) workgroups of TILE; one invocation has one unit
// (its four gates in a vec4) and ROWS rows. KP is H rounded up to a multiple of 8.
// Passes: 1. Saved for the backward: the activated gates and all states. T + 1 slots of h
// and c let one kernel run in both directions.
// Numerics: f32. Limits: subgroups of 8 lanes or more; 5 storage buffers; ROWS * TILE * 16 bytes
// of workgroup memory.
#const ROWS: u32
#const TILE: u32
const WG: u32 = TILE;
#include "lstm_fwd.wgsl"
#include "rows_broadcast.wgsl"

const QUADS: u32 = ROWS / 4u;

@compute @workgroup_size(TILE)
fn lstm_step_fwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    begin(0u);
    let row0 = wid.y * ROWS;
    let kp = (p.hidden + 7u) / 8u * 8u;
    var acc: array<array<vec4<f32>, 4>, QUADS>;
    var at = wid.x * kp * TILE + lid;
    for (var k = 0u; k < kp; k += 8u) {
        let panel = array<vec4<f32>, 8>(w[at], w[at + TILE], w[at + 2u * TILE], w[at + 3u * TILE],
            w[at + 4u * TILE], w[at + 5u * TILE], w[at + 6u * TILE], w[at + 7u * TILE]);
        for (var q = 0u; q < QUADS; q++) {
            let block = previous4(row0 + 4u * q + block_row(lane), k + block_column(lane));
            acc[q] = multiply_block(block, panel, acc[q]);
        }
        at += 8u * TILE;
    }
    for (var q = 0u; q < QUADS; q++) {
        let own = 4u * q * TILE + lid;
        sums[own] = acc[q][0];
        sums[own + TILE] = acc[q][1];
        sums[own + 2u * TILE] = acc[q][2];
        sums[own + 3u * TILE] = acc[q][3];
    }
    cells(row0, wid.x * TILE + lid, lid);
}
