// Time steps of an LSTM layer's backward pass, from the last step processed to the first.
//
//   dh = dout[t] + carry_h (rows whose sequence is over) + W_hh^T dz' (dz' of the step after)
//   dc = carry_c + dh o (1 - tanh^2 c)         zero where the cell was clamped
//   dz = (dc g i (1-i), dc c' f (1-f), dc i (1-g^2), dh tanh(c) o (1-o))
//   carry_c = dc f,  carry_h = 0
//   A row whose sequence is over (t >= lens[b]) has dz = 0, carry_h = dh, and carry_c as it was.
//
// Source: the chain rule applied to lstm_step_fwd; Hochreiter and Schmidhuber 1997, with forget gates
// (Gers et al. 2000), in the form and gate order of PyTorch's nn.LSTM.
// Dispatch: (ceil(H / (4 TILE)); 1 with PERSISTENT, ceil(B / ROWS), 1) workgroups of WG, which is
// TILE for one time step and, with PERSISTENT, a multiple of TILE for `steps` of them. An invocation
// has four units in 4 TILE and ROWS rows.
// Passes: 1. W_hh (4H, H) comes in panels of 4 TILE columns (matmul_pack), KP = 4H rounded up to a
// multiple of 8. `gates` holds the activated gates and receives dz in their place; slots as in
// lstm_step_fwd. With only_dh = 1 just dh is computed, into carry_h: the gradient of the first h.
// Numerics: f32. Limits: 7 storage buffers; ROWS * WG * 16 bytes of workgroup memory.
#const ROWS: u32 // rows of an invocation, a multiple of 4
#const TILE: u32 // invocations that share a panel of W_hh
#const WG: u32 // invocations of a workgroup, a multiple of TILE; TILE itself without PERSISTENT
#include "lstm_bwd.wgsl"
#include "lstm_bwd_buffers.wgsl"

@compute @workgroup_size(WG)
fn lstm_step_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row0 = wid.y * ROWS;
    let kp = padded();
    let tiles = (p.hidden + 4u * TILE - 1u) / (4u * TILE);
    for (var step = 0u; step < p.steps; step++) {
        begin(step);
        for (var tile = wid.x * (WG / TILE) + lid / TILE; tile < tiles; tile += nwg.x * (WG / TILE)) {
            var acc = array<vec4<f32>, ROWS>();
            var at = tile * kp * TILE + lid % TILE;
            let end = select(0u, kp, p.has_next == 1u || step > 0u);
            for (var k = 0u; k < end; k += 4u) {
                let w0 = w[at];
                let w1 = w[at + TILE];
                let w2 = w[at + 2u * TILE];
                let w3 = w[at + 3u * TILE];
                for (var r = 0u; r < ROWS; r++) {
                    let x = next4(row0 + r, k);
                    var s = fma(vec4<f32>(x.x), w0, acc[r]);
                    s = fma(vec4<f32>(x.y), w1, s);
                    s = fma(vec4<f32>(x.z), w2, s);
                    acc[r] = fma(vec4<f32>(x.w), w3, s);
                }
                at += 4u * TILE;
            }
            for (var r = 0u; r < ROWS; r++) {
                sums[r * WG + lid] = acc[r];
            }
            cells(row0, (tile * TILE + lid % TILE) * 4u, lid);
        }
#if PERSISTENT
        storageBarrier(); // the next time step reads all units of these rows
#endif
    }
}
