// Interleaves the gates of an LSTM weight or bias.
//
//   dst[4 u + gate, x] (= or +=) src[gate H + u, x]
//
// From the files' order (PyTorch: all of i, then f, g, o) to the engine's, where the four gates
// of a unit are neighbours and load as one vec4. A bias has width 1.
// Source: definition.
// Dispatch: ceil(4 H width / 256) workgroups of 256, folded; one element per invocation.
// Passes: 1. Numerics: exact. Limits: 2 storage buffers.
#include "linear.wgsl"

struct Params {
    h: u32,          // hidden units
    width: u32,      // columns
    accumulate: u32, // 0: overwrite, 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> src: array<f32>; // (4, H, width) f32
@group(0) @binding(2) var<storage, read_write> dst: array<f32>; // (H, 4, width) f32

@compute @workgroup_size(256)
fn lstm_pack_gates(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < 4u * p.h * p.width {
        let row = i / p.width;
        let x = i % p.width;
        var v = src[((row & 3u) * p.h + row / 4u) * p.width + x];
        if p.accumulate != 0u {
            v += dst[i];
        }
        dst[i] = v;
    }
}
