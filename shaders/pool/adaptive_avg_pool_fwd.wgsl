// The means of windows that share a picture out evenly, whatever its size.
//
//   y[n, i, j, c] = mean of x[n, h, w, c] over floor(i H / O) <= h < ceil((i + 1) H / O), w likewise
//
// VEC4: four channels per element, C counts elements. F16: the buffers hold f16.
// Source: definition, as torch.nn.functional.adaptive_avg_pool2d.
// Dispatch: ceil(rows C / 64) workgroups of 64, folded; one element per invocation.
// Passes: 1. Numerics: f32, pixels in order. Limits: 2 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#include "share.wgsl"

struct Params {
    rows: u32,       // windows, over all pictures
    cols: u32,       // C; with VEC4 a quarter of the channels
    source_h: u32,   // H
    source_w: u32,   // W
    result_h: u32,   // O: windows down
    result_w: u32,   // windows across
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (pixels, C): the source
@group(0) @binding(2) var<storage, read_write> y: array<Stored>; // (windows, C): the means

@compute @workgroup_size(64)
fn adaptive_avg_pool_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let row = i / p.cols;
    if row < p.rows {
        let c = i - row * p.cols;
        let rows_of = share(row / p.result_w % p.result_h, p.source_h, p.result_h);
        let columns_of = share(row % p.result_w, p.source_w, p.result_w);
        let base = row / (p.result_w * p.result_h) * p.source_h;
        var sum = Real(0.0);
        for (var h = rows_of.x; h < rows_of.y; h++) {
            for (var w = columns_of.x; w < columns_of.y; w++) {
                sum += Real(x[((base + h) * p.source_w + w) * p.cols + c]);
            }
        }
        let count = (rows_of.y - rows_of.x) * (columns_of.y - columns_of.x);
        y[i] = Stored(sum / f32(count));
    }
}
