// A convolution with groups, or its gradient by the source, from operands as they lie.
//
//   y[r, o] (=|+=) sum over taps t and i of x[pixel(r, t), I g + i] w(g, o, t, i) + bias[o];   g = o / O
//
// I source channels and O result channels make a group. Strides say how w lies, so that one loop serves
// both directions; picture says which pixel each tap reads. F16: x and y hold f16. W16: w does.
// Source: definition, as torch.nn.functional.conv2d.
// Dispatch: ceil(ceil(rows / 4) channels / O ceil(O / COLS) / 64) workgroups of 64, folded; an invocation makes four
// rows of COLS channels of a group: neighbours read neighbouring channels, and what is read of x serves all of them.
// Passes: 1. Numerics: f32, one running sum per element, taps in order. Limits: 5 storage buffers.
#const COLS: u32 // channels of an invocation
#include "linear.wgsl"

#if F16
alias Pixel = f16;
#else
alias Pixel = f32;
#endif
#if W16
alias Weight = f16;
#else
alias Weight = f32;
#endif

struct Params {
    rows: u32,       // positions of the result, over all pictures
    channels: u32,   // of the result, over all groups
    inner: u32,      // I: source channels of a group
    outer: u32,      // O: result channels of a group
    w_group: u32,    // elements of w from one group to the next
    w_outer: u32,    // from one result channel of a group to the next
    w_tap: u32,      // from one tap to the next
    w_inner: u32,    // from one source channel of a group to the next
    accumulate: u32, // 0: overwrite without reading; 1: add
    has_bias: u32,   // 0: bias is not read
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> picture: Picture; // (64 bytes): which pixel a tap reads
@group(0) @binding(2) var<storage, read> x: array<Pixel>; // (pixels, groups I): the source
@group(0) @binding(3) var<storage, read> w: array<Weight>; // (groups, O, taps, I) by strides: the weights
@group(0) @binding(4) var<storage, read> bias: array<f32>; // (channels): added to every row; any buffer if has_bias = 0
@group(0) @binding(5) var<storage, read_write> y: array<Pixel>; // (rows, channels): the result
#include "picture.wgsl"

@compute @workgroup_size(64)
fn conv_direct(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let g = picture;
    let i = linear_group(wid, nwg) * 64u + lid;
    // Parts of a group's channels, and of all.
    let parts = (p.outer + COLS - 1u) / COLS;
    let all = p.channels / p.outer * parts;
    let part = i % all;
    let row = i / all * 4u;
    if row < p.rows {
        let last = p.rows - 1u;
        let places = array<Place, 4>(place_of(g, row), place_of(g, min(row + 1u, last)),
                                     place_of(g, min(row + 2u, last)), place_of(g, min(row + 3u, last)));
        let group = part / parts;
        let first = (part - group * parts) * COLS;
        // Channels that do not exist read the last one that does; nothing is stored.
        var own = array<u32, COLS>();
        for (var o = 0u; o < COLS; o++) {
            own[o] = group * p.w_group + min(first + o, p.outer - 1u) * p.w_outer;
        }
        var sums = array<vec4<f32>, COLS>();
        for (var tap = 0u; tap < g.taps; tap++) {
            let pixels = vec4<u32>(pixel(g, places[0], tap), pixel(g, places[1], tap),
                                   pixel(g, places[2], tap), pixel(g, places[3], tap));
            let reads = pixels != vec4<u32>(NOWHERE);
            let source = select(vec4<u32>(0u), pixels, reads) * g.channels + group * p.inner;
            for (var c = 0u; c < p.inner; c++) {
                let v = vec4<f32>(f32(x[source.x + c]), f32(x[source.y + c]), f32(x[source.z + c]),
                                  f32(x[source.w + c]));
                let read = select(vec4<f32>(0.0), v, reads);
                let at = tap * p.w_tap + c * p.w_inner;
                for (var o = 0u; o < COLS; o++) {
                    sums[o] = fma(read, vec4<f32>(f32(w[own[o] + at])), sums[o]);
                }
            }
        }
        let rows = min(p.rows - row, 4u);
        for (var o = 0u; o < COLS; o++) {
            if first + o < p.outer {
                let channel = group * p.outer + first + o;
                var sum = sums[o];
                if p.has_bias != 0u {
                    sum += bias[channel];
                }
                for (var r = 0u; r < rows; r++) {
                    let at = (row + r) * p.channels + channel;
                    var old = 0.0;
                    if p.accumulate != 0u {
                        old = f32(y[at]);
                    }
                    y[at] = Pixel(old + sum[r]);
                }
            }
        }
    }
}
