// Lays W_hh out for the forward step: the four gates of a unit side by side, a panel for each `tile` units.
//
//   y[panel][k][lane] = (W[i,u,k], W[f,u,k], W[g,u,k], W[o,u,k])   u = tile panel + lane
//
// with W[gate, row, column] the rows of PyTorch's weight_hh (4H, H); zero for u and k past H.
// Reading a panel is one contiguous stream; rows of W itself lie a power of two apart, which
// collides in the caches. The backward step reads W_hh as matmul_pack lays it out.
// Source: layout only.
// Dispatch: ceil(panels kp tile / 64) workgroups of 64, folded; one vec4 per invocation.
// Passes: 1. Numerics: exact. Limits: 2 storage buffers.
#include "linear.wgsl"

struct Params {
    hidden: u32, // H
    tile: u32,   // units of a panel
    kp: u32,     // H rounded up to a multiple of 8
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>; // (4H, H): weight_hh, rows stacked i, f, g, o
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (ceil(H / tile), kp, tile): the panels

@compute @workgroup_size(64)
fn lstm_pack_weights(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let index = linear_group(wid, nwg) * 64u + lid;
    let panels = (p.hidden + p.tile - 1u) / p.tile;
    if index < panels * p.kp * p.tile {
        let unit = index / (p.kp * p.tile) * p.tile + index % p.tile;
        let k = index / p.tile % p.kp;
        var value = vec4<f32>(0.0);
        if unit < p.hidden && k < p.hidden {
            let gate = p.hidden * p.hidden;
            let at = unit * p.hidden + k;
            value = vec4<f32>(w[at], w[at + gate], w[at + 2u * gate], w[at + 3u * gate]);
        }
        y[index] = value;
    }
}
