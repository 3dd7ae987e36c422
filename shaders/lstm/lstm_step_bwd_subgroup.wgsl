// One time step of an LSTM layer's backward pass, by subgroup broadcast.
//
//   dh = dout_t + carry_h (rows whose sequence is over) + W_hh^T dz' (dz' of the step after)
//   dc = carry_c + dh o (1 - tanh^2 c)         zero where the clamp bit
//   dz = (dc g i (1-i), dc c' f (1-f), dc i (1-g^2), dh tanh(c) o (1-o))
//   carry_c = dc f,  carry_h = 0
//   A row whose sequence is over (t >= lens[b]) has dz = 0, carry_h = dh, and carry_c as it was.
//
// Source: the chain rule applied to lstm_step_fwd; PyTorch's nn.LSTM agrees.
// Dispatch: (ceil(H / (4 WG)), ceil(B / ROWS), 1) workgroups of WG; one invocation has four units
// and ROWS rows. W_hh (4H, H) comes in panels of UNITS = 4 WG columns (matmul_pack), KP = 4H
// rounded up to a multiple of 8.
// `gates` holds the activated gates and receives dz in their place; slots as in lstm_step_fwd.
// With only_dh = 1 just dh is computed, into carry_h: the gradient of the first h.
// Numerics: f32. Limits: subgroups of 8 lanes or more; 7 storage buffers; ROWS * WG * 16 bytes of
// workgroup memory.
#const ROWS: u32
#const WG: u32
#include "lstm_bwd.wgsl"
#include "rows_broadcast.wgsl"

const QUADS: u32 = ROWS / 4u;

@compute @workgroup_size(WG)
fn lstm_step_bwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let row0 = wid.y * ROWS;
    let kp = padded();
    var acc: array<array<vec4<f32>, 4>, QUADS>;
    var at = wid.x * kp * WG + lid;
    let end = select(0u, kp, p.has_next == 1u);
    for (var k = 0u; k < end; k += 8u) {
        let panel = array<vec4<f32>, 8>(w[at], w[at + WG], w[at + 2u * WG], w[at + 3u * WG],
            w[at + 4u * WG], w[at + 5u * WG], w[at + 6u * WG], w[at + 7u * WG]);
        for (var q = 0u; q < QUADS; q++) {
            let block = next4(row0 + 4u * q + block_row(lane), k + block_column(lane));
            acc[q] = multiply_block(block, panel, acc[q]);
        }
        at += 8u * WG;
    }
    for (var q = 0u; q < QUADS; q++) {
        let own = 4u * q * WG + lid;
        sums[own] = acc[q][0];
        sums[own + WG] = acc[q][1];
        sums[own + 2u * WG] = acc[q][2];
        sums[own + 3u * WG] = acc[q][3];
    }
    cells(row0, (wid.x * WG + lid) * 4u, lid);
}
