// The operands of a forward LSTM step's product, from buffers.
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // (ceil(H / TILE), KP, TILE): W_hh by lstm_pack_weights, the four gates of a unit a vec4

// h'[row, k .. k + 4], zero beyond H.
fn previous4(row: u32, k: u32) -> vec4<f32> {
    let base = (before * p.batch + min(row, p.batch - 1u)) * p.hidden;
#if VEC4
    return select(vec4<f32>(0.0), h[(base + min(k, p.hidden - 4u)) / 4u], k < p.hidden);
#else
    let last = p.hidden - 1u;
    let v = vec4<f32>(h[base + min(k, last)], h[base + min(k + 1u, last)],
                      h[base + min(k + 2u, last)], h[base + min(k + 3u, last)]);
    return select(vec4<f32>(0.0), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.hidden));
#endif
}
