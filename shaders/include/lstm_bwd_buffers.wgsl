// The operands of a backward LSTM step's product, from buffers.
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>; // (ceil(H / (4 TILE)), KP, 4 TILE): W_hh by matmul_pack: panels of columns, k over the 4H rows

// dz'[row, k .. k + 4] over the stacked gates, zero beyond 4 H.
fn next4(row: u32, k: u32) -> vec4<f32> {
    let base = (next * p.batch + min(row, p.batch - 1u)) * p.hidden;
    return select(vec4<f32>(0.0), gates[base + min(k / 4u, p.hidden - 1u)], k < 4u * p.hidden);
}
