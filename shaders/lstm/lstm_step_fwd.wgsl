// Time steps of an LSTM layer.
//
//   (i, f, g, o) = (sigmoid, sigmoid, tanh, sigmoid)(x + W_hh h')   x = W_ih x_t + biases, precomputed
//   c = f c' + i g, clamped to +-cell_clip when that is > 0;   h = o tanh(c)
//   A row whose sequence is over (t >= lens[b]) keeps h' and c'.
//
// Source: Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000), in the form and
// gate order of PyTorch's nn.LSTM.
// Dispatch: (ceil(H / TILE); 1 with PERSISTENT, ceil(B / ROWS), 1) workgroups of WG, which is TILE for
// one time step and, with PERSISTENT, a multiple of TILE for `steps` of them. An invocation has one
// unit in TILE (its four gates in a vec4) and ROWS rows. KP is H rounded up to a multiple of 8.
// Passes: 1. Saved for the backward: the activated gates and all states, in T + 1 slots.
// Numerics: f32. Limits: 5 storage buffers; ROWS * WG * 16 bytes of workgroup memory.
#const ROWS: u32 // rows of an invocation, a multiple of 4
#const TILE: u32 // invocations that share a panel of W_hh
#const WG: u32 // invocations of a workgroup, a multiple of TILE; TILE itself without PERSISTENT
#include "lstm_fwd.wgsl"
#include "lstm_fwd_buffers.wgsl"

@compute @workgroup_size(WG)
fn lstm_step_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row0 = wid.y * ROWS;
    let kp = (p.hidden + 7u) / 8u * 8u;
    let tiles = (p.hidden + TILE - 1u) / TILE;
    for (var step = 0u; step < p.steps; step++) {
        begin(step);
        for (var unit0 = wid.x * WG; unit0 < p.hidden; unit0 += nwg.x * WG) {
            var acc = array<vec4<f32>, ROWS>();
            let tile = min(unit0 / TILE + lid / TILE, tiles - 1u);
            var at = tile * kp * TILE + lid % TILE;
            for (var k = 0u; k < kp; k += 4u) {
                let w0 = w[at];
                let w1 = w[at + TILE];
                let w2 = w[at + 2u * TILE];
                let w3 = w[at + 3u * TILE];
                for (var r = 0u; r < ROWS; r++) {
                    let x = previous4(row0 + r, k);
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
            cells(row0, unit0, lid);
        }
#if PERSISTENT
        storageBarrier(); // the next time step reads all units of these rows
#endif
    }
}
