// Gradient of max_pool_fwd.
//
//   dx[q, c] (=|+=) sum over taps t with r = pixel(q, t) and at[r, c] = q of dy[r, c]
//
// Here picture leads from a pixel to the windows that it lies in. VEC4: four channels per element, C
// counts elements. F16: dy and dx hold f16.
// Source: derivative of max_pool_fwd.
// Dispatch: ceil(pixels C / 64) workgroups of 64, folded; one element per invocation.
// Passes: 1. Numerics: f32, windows in order. Limits: 4 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#include "index.wgsl"

struct Params {
    rows: u32,       // pixels, over all pictures
    cols: u32,       // C; with VEC4 a quarter of the channels
    accumulate: u32, // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> picture: Picture; // (64 bytes): which windows a pixel lies in
@group(0) @binding(2) var<storage, read> at: array<Index>; // (windows, C): pixel of the largest
@group(0) @binding(3) var<storage, read> dy: array<Stored>; // (windows, C): upstream gradient
@group(0) @binding(4) var<storage, read_write> dx: array<Stored>; // (pixels, C): gradient
#include "picture.wgsl"

@compute @workgroup_size(64)
fn max_pool_bwd(
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
                let j = source * p.cols + c;
                sum += select(Real(0.0), Real(dy[j]), at[j] == Index(row));
            }
        }
        if p.accumulate != 0u {
            sum += Real(dx[i]);
        }
        dx[i] = Stored(sum);
    }
}
