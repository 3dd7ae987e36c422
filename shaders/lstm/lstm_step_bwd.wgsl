// One time step of an LSTM backwards.
//
//   dh = dout[t] + dh_carried + dgates[next] W_hh
//   dc = dc_carried + dh o (1 - tanh(c)^2), zero where c was clipped
//   dgates[t] = (dc g i (1-i), dc c_old f (1-f), dc i (1-g^2), dh tanh(c) o (1-o)), to z
//   carried on: dc f; rows with t >= lens pass dh and dc by and have no gate gradients
//
// Source: the chain rule on lstm_step_fwd (Hochreiter and Schmidhuber 1997, appendix A).
// Dispatch: (ceil(H / (4 WG)), ceil(B / ROWS), 1) workgroups of WG; one invocation makes four
// units of ROWS rows.
// Passes: 1. Numerics: f32. Limits: 8 storage buffers; nothing optional.
#const ROWS: u32
#const WG: u32
#include "lstm_bwd.wgsl"

@compute @workgroup_size(WG)
fn lstm_step_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row0 = wid.y * ROWS;
    var acc: array<vec4<f32>, ROWS>;
    var wi = wid.x * p.kp * WG + lid;
    for (var k = 0u; k < p.kp; k += 4u) {
        let w0 = w[wi];
        let w1 = w[wi + WG];
        let w2 = w[wi + 2u * WG];
        let w3 = w[wi + 3u * WG];
        for (var r = 0u; r < ROWS; r++) {
            let q = next4(row0 + r, k / 4u);
            var s = fma(vec4<f32>(q.x), w0, acc[r]);
            s = fma(vec4<f32>(q.y), w1, s);
            s = fma(vec4<f32>(q.z), w2, s);
            acc[r] = fma(vec4<f32>(q.w), w3, s);
        }
        wi += 4u * WG;
    }
    let unit = (wid.x * WG + lid) * 4u;
    for (var r = 0u; r < ROWS; r++) {
        keep(row0 + r, unit, acc[r]);
    }
    cells(row0, ROWS, unit);
}
