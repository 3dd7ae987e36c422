// The gradient of a convolution with groups by its weights, summed over splits of the positions.
//
//   dw[s, o, t, i] = sum over rows r of split s of dy[r, o] x[pixel(r, t), I (o / O) + i]
//
// F16: x and dy hold f16.
// Source: derivative of conv_direct.
// Dispatch: (ceil(weights / 64), splits, 1) workgroups of 64; one weight per invocation.
// Passes: this, then sum_cols over the splits.
// Numerics: f32, rows in order within a split. Limits: 4 storage buffers.
#if F16
alias Pixel = f16;
#else
alias Pixel = f32;
#endif

struct Params {
    rows: u32,      // positions of the result, over all pictures
    channels: u32,  // of the result, over all groups
    inner: u32,     // I: source channels of a group
    outer: u32,     // O: result channels of a group
    per_split: u32, // rows per split: splits = ceil(rows / per_split)
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> picture: Picture; // (64 bytes): which pixel a tap reads
@group(0) @binding(2) var<storage, read> x: array<Pixel>; // (pixels, groups I): the source
@group(0) @binding(3) var<storage, read> dy: array<Pixel>; // (rows, channels): upstream gradient
@group(0) @binding(4) var<storage, read_write> dw: array<f32>; // (splits, channels, taps, I): partial sums
#include "picture.wgsl"

@compute @workgroup_size(64)
fn conv_direct_weights(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let g = picture;
    let weights = p.channels * g.taps * p.inner;
    let i = wid.x * 64u + lid;
    if i < weights {
        let channel = i / (g.taps * p.inner);
        let tap = i / p.inner % g.taps;
        let source = channel / p.outer * p.inner + i % p.inner;
        let end = min((wid.y + 1u) * p.per_split, p.rows);
        var sum = 0.0;
        for (var r = wid.y * p.per_split; r < end; r++) {
            let at = pixel(g, place_of(g, r), tap);
            if at != NOWHERE {
                sum = fma(f32(dy[r * p.channels + channel]), f32(x[at * g.channels + source]), sum);
            }
        }
        dw[wid.y * weights + i] = sum;
    }
}
