// The largest of each window of a picture, and where it stood.
//
//   y[r, c] = max over taps t of x[pixel(r, t), c];   at[r, c] = the first such pixel
//
// VEC4: four channels per element, C counts elements. F16: x and y hold f16.
// Source: definition, as torch.nn.functional.max_pool2d.
// Dispatch: ceil(rows C / 64) workgroups of 64, folded; one element per invocation.
// Passes: 1. Numerics: exact. What lies outside of the picture never counts.
// Limits: 4 storage buffers; every window holds a pixel.
#include "linear.wgsl"
#include "stored.wgsl"
#include "index.wgsl"

struct Params {
    rows: u32, // positions of the result, over all pictures
    cols: u32, // C; with VEC4 a quarter of the channels
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> picture: Picture; // (64 bytes): which pixel a tap reads
@group(0) @binding(2) var<storage, read> x: array<Stored>; // (pixels, C): the source
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (rows, C): the largest
@group(0) @binding(4) var<storage, read_write> at: array<Index>; // (rows, C): its pixel
#include "picture.wgsl"

@compute @workgroup_size(64)
fn max_pool_fwd(
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
        var best = Real(-3.4028234663852886e38);
        var where_best = Index(NOWHERE);
        for (var tap = 0u; tap < g.taps; tap++) {
            let source = pixel(g, place, tap);
            if source != NOWHERE {
                let v = Real(x[source * p.cols + c]);
                // The first pixel counts even where it is negative infinity.
                let better = (v > best) | (where_best == Index(NOWHERE));
                best = select(best, v, better);
                where_best = select(where_best, Index(source), better);
            }
        }
        y[i] = Stored(best);
        at[i] = where_best;
    }
}
