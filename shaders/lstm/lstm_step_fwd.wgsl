// One time step of an LSTM: product, gates and cell in one dispatch.
//
//   z = xproj[t] + h W_hh;  i, f, o = sigmoid(z);  g = tanh(z)
//   c' = clip(f c + i g);  h' = o tanh(c');  rows with t >= lens carry h and c unchanged
//
// Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; gate
// order of PyTorch. The host gives the slots, so one kernel runs time in both directions.
// Dispatch: (ceil(H / TILE), ceil(B / ROWS), 1) workgroups of TILE; one invocation makes one
// unit (its four gates in a vec4) of ROWS rows.
// Passes: 1. Numerics: f32. Limits: 6 storage buffers; nothing optional.
#const ROWS: u32
#const TILE: u32
#include "lstm_fwd.wgsl"

@compute @workgroup_size(TILE)
fn lstm_step_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row0 = wid.y * ROWS;
    var acc: array<vec4<f32>, ROWS>;
    var wi = wid.x * p.kp * TILE + lid;
    for (var k = 0u; k < p.kp; k += 4u) {
        let w0 = w[wi];
        let w1 = w[wi + TILE];
        let w2 = w[wi + 2u * TILE];
        let w3 = w[wi + 3u * TILE];
        for (var r = 0u; r < ROWS; r++) {
            let q = previous4(row0 + r, k);
            var s = fma(vec4<f32>(q.x), w0, acc[r]);
            s = fma(vec4<f32>(q.y), w1, s);
            s = fma(vec4<f32>(q.z), w2, s);
            acc[r] = fma(vec4<f32>(q.w), w3, s);
        }
        wi += 4u * TILE;
    }
    let unit = wid.x * TILE + lid;
    for (var r = 0u; r < ROWS; r++) {
        keep(row0 + r, unit, acc[r]);
    }
    cells(row0, ROWS, unit);
}
