// Gradient of adaptive_avg_pool_fwd.
//
//   dx[n, h, w, c] (=|+=) sum over windows (i, j) that hold (h, w) of dy[n, i, j, c] / pixels of that window
//
// VEC4: four channels per element, C counts elements. F16: the buffers hold f16.
// Source: derivative of adaptive_avg_pool_fwd.
// Dispatch: ceil(rows C / 64) workgroups of 64, folded; one element per invocation.
// Passes: 1. Numerics: f32, windows in order. Limits: 2 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#include "share.wgsl"

struct Params {
    rows: u32,       // pixels, over all pictures
    cols: u32,       // C; with VEC4 a quarter of the channels
    source_h: u32,   // H
    source_w: u32,   // W
    result_h: u32,   // O: windows down
    result_w: u32,   // windows across
    accumulate: u32, // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<Stored>; // (windows, C): upstream gradient
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>; // (pixels, C): gradient

@compute @workgroup_size(64)
fn adaptive_avg_pool_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    let row = i / p.cols;
    if row < p.rows {
        let c = i - row * p.cols;
        // The windows that hold a pixel are those between which the pixel would be shared out.
        let down = share(row / p.source_w % p.source_h, p.result_h, p.source_h);
        let across = share(row % p.source_w, p.result_w, p.source_w);
        let base = row / (p.source_w * p.source_h) * p.result_h;
        var sum = Real(0.0);
        for (var y = down.x; y < down.y; y++) {
            let rows_of = share(y, p.source_h, p.result_h);
            for (var x = across.x; x < across.y; x++) {
                let columns_of = share(x, p.source_w, p.result_w);
                let count = (rows_of.y - rows_of.x) * (columns_of.y - columns_of.x);
                sum += Real(dy[((base + y) * p.result_w + x) * p.cols + c]) / f32(count);
            }
        }
        if p.accumulate != 0u {
            sum += Real(dx[i]);
        }
        dx[i] = Stored(sum);
    }
}
