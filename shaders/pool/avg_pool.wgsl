// The sum of each window of a picture times a factor: its mean, or the gradient of that.
//
//   y[r, c] (=|+=) scale sum over taps t of x[pixel(r, t), c]
//
// For the gradient picture leads from a pixel to the windows that it lies in. VEC4: four channels per
// element, C counts elements. F16: x and y hold f16.
// Source: definition, as torch.nn.functional.avg_pool2d, which counts what lies outside as zeros.
// Dispatch: ceil(rows C / 64) workgroups of 64, folded; one element per invocation.
// Passes: 1. Numerics: f32, taps in order. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    rows: u32,       // positions of the result, over all pictures
    cols: u32,       // C; with VEC4 a quarter of the channels
    accumulate: u32, // 0: overwrite without reading; 1: add
    scale: f32,      // 1 / taps of a window
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> picture: Picture; // (64 bytes): which pixel a tap reads
@group(0) @binding(2) var<storage, read> x: array<Stored>; // (pixels, C): the source
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (rows, C): the result
#include "picture.wgsl"

@compute @workgroup_size(64)
fn avg_pool(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let g = picture;
    let i = linear_group(wid, nwg) * 64u + lid;
    let row = i / p.cols;
    if row < p.rows {
        let c = i - row * p.cols;
        let place = place_of(g, row);
        var sum = Real(0.0);
        for (var tap = 0u; tap < g.taps; tap++) {
            let source = pixel(g, place, tap);
            if source != NOWHERE {
                sum += Real(x[source * p.cols + c]);
            }
        }
        var v = p.scale * sum;
        if p.accumulate != 0u {
            v += Real(y[i]);
        }
        y[i] = Stored(v);
    }
}
