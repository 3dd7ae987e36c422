// Lay W_hh out for the step kernels: the four gates of a unit side by side, 32 units a tile.
//
//   forward:  y[tile][k][lane] = (W[i,u,k], W[f,u,k], W[g,u,k], W[o,u,k])   u = 32·tile + lane
//   backward: y[tile][k][lane] = (W[i,k,u], W[f,k,u], W[g,k,u], W[o,k,u])
// with W[gate, row, column] the rows of PyTorch's weight_hh (4H, H). Units past H are zero.
//
// Source: layout only. Reading a tile is one contiguous stream; rows of W itself lie a power of
// two apart, which collides in the caches.
// Dispatch: ceil(tiles·H·32 / 64) workgroups of 64, folded. Passes: 1. Numerics: exact.
#include "linear.wgsl"

struct Params {
    hidden: u32,   // H
    backward: u32, // 0: forward layout, 1: backward layout
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>; // (4H, H) f32, row-major
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (ceil(H / 32), H, 32) vec4<f32>

@compute @workgroup_size(64)
fn lstm_pack_weights(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let index = linear_group(wid, nwg) * 64u + lid;
    let tiles = (p.hidden + 31u) / 32u;
    if index >= tiles * p.hidden * 32u {
        return;
    }
    let unit = index / (p.hidden * 32u) * 32u + index % 32u;
    let k = index / 32u % p.hidden;
    var value = vec4<f32>(0.0);
    if unit < p.hidden {
        let row = select(unit, k, p.backward == 1u);
        let column = select(k, unit, p.backward == 1u);
        let gate = p.hidden * p.hidden;
        let at = row * p.hidden + column;
        value = vec4(w[at], w[at + gate], w[at + 2u * gate], w[at + 3u * gate]);
    }
    y[index] = value;
}
