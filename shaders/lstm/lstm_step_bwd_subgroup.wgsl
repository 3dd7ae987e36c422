// One time step of an LSTM backwards, by subgroup broadcast.
//
//   dh = dout[t] + dh_carried + dgates[next] W_hh
//   dc = dc_carried + dh o (1 - tanh(c)^2), zero where c was clipped
//   dgates[t] = (dc g i (1-i), dc c_old f (1-f), dc i (1-g^2), dh tanh(c) o (1-o)), to z
//   carried on: dc f; rows with t >= lens pass dh and dc by and have no gate gradients
//
// Source: the chain rule on lstm_step_fwd (Hochreiter and Schmidhuber 1997, appendix A).
// Dispatch: (ceil(H / (4 WG)), ceil(B / ROWS), 1) workgroups of WG; one invocation makes four
// units of ROWS rows.
// Passes: 1. Numerics: f32. Limits: subgroups of 8 lanes or more; 8 storage buffers.
#const ROWS: u32
#const WG: u32
#include "lstm_bwd.wgsl"
#include "rows_broadcast.wgsl"

const GROUPS: u32 = ROWS / 4u;

@compute @workgroup_size(WG)
fn lstm_step_bwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row0 = wid.y * ROWS;
    var acc: array<array<vec4<f32>, 4>, GROUPS>;
    var wi = wid.x * p.kp * WG + lid;
    for (var k = 0u; k < p.kp; k += 8u) {
        let panel = array<vec4<f32>, 8>(w[wi], w[wi + WG], w[wi + 2u * WG], w[wi + 3u * WG],
            w[wi + 4u * WG], w[wi + 5u * WG], w[wi + 6u * WG], w[wi + 7u * WG]);
        for (var g = 0u; g < GROUPS; g++) {
            let q = next4(row0 + 4u * g + block_row(lane), (k + block_column(lane)) / 4u);
            acc[g] = multiply_block(q, panel, acc[g]);
        }
        wi += 8u * WG;
    }
    let unit = (wid.x * WG + lid) * 4u;
    for (var g = 0u; g < GROUPS; g++) {
        keep(row0 + 4u * g, unit, acc[g][0]);
        keep(row0 + 4u * g + 1u, unit, acc[g][1]);
        keep(row0 + 4u * g + 2u, unit, acc[g][2]);
        keep(row0 + 4u * g + 3u, unit, acc[g][3]);
    }
    cells(row0, ROWS, unit);
}
