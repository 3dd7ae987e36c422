// One time step of an LSTM, by subgroup broadcast: product, gates and cell in one dispatch.
//
//   z = xproj[t] + h W_hh;  i, f, o = sigmoid(z);  g = tanh(z)
//   c' = clip(f c + i g);  h' = o tanh(c');  rows with t >= lens carry h and c unchanged
//
// Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; gate
// order of PyTorch. The host gives the slots, so one kernel runs time in both directions.
// Dispatch: (ceil(H / TILE), ceil(B / ROWS), 1) workgroups of TILE; one invocation makes one
// unit (its four gates in a vec4) of ROWS rows.
// Passes: 1. Numerics: f32. Limits: subgroups of 8 lanes or more; 6 storage buffers.
#const ROWS: u32
#const TILE: u32
#include "lstm_fwd.wgsl"
#include "rows_broadcast.wgsl"

const GROUPS: u32 = ROWS / 4u;

@compute @workgroup_size(TILE)
fn lstm_step_fwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row0 = wid.y * ROWS;
    var acc: array<array<vec4<f32>, 4>, GROUPS>;
    var wi = wid.x * p.kp * TILE + lid;
    for (var k = 0u; k < p.kp; k += 8u) {
        let panel = array<vec4<f32>, 8>(w[wi], w[wi + TILE], w[wi + 2u * TILE], w[wi + 3u * TILE],
            w[wi + 4u * TILE], w[wi + 5u * TILE], w[wi + 6u * TILE], w[wi + 7u * TILE]);
        for (var g = 0u; g < GROUPS; g++) {
            let q = previous4(row0 + 4u * g + block_row(lane), k + block_column(lane));
            acc[g] = multiply_block(q, panel, acc[g]);
        }
        wi += 8u * TILE;
    }
    let unit = wid.x * TILE + lid;
    for (var g = 0u; g < GROUPS; g++) {
        keep(row0 + 4u * g, unit, acc[g][0]);
        keep(row0 + 4u * g + 1u, unit, acc[g][1]);
        keep(row0 + 4u * g + 2u, unit, acc[g][2]);
        keep(row0 + 4u * g + 3u, unit, acc[g][3]);
    }
    cells(row0, ROWS, unit);
}
