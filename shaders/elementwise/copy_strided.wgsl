// Copies between two layouts of up to four axes: transpose, permute, slice, stack, repeat.
//
//   y[offset_y + at . stride_y] (=|+=) x[offset_x + at . stride_x]   for at in shape
//
// No two coordinates may meet in y (no zero stride there), or the order would matter.
// Source: definition.
// Dispatch: ceil(n / 256) workgroups of 256, folded; one element per invocation, x's last axis
//   fastest. Numerics: exact, or one f32 sum. Limits: 2 storage buffers, 4 axes.
// F16: elements are f16.
#include "linear.wgsl"
#include "coords.wgsl"

struct Params {
    shape: vec4<u32>,    // what to copy, outermost first; leading axes 1
    stride_x: vec4<u32>, // elements; 0 repeats
    stride_y: vec4<u32>, // elements; never 0 on an axis longer than 1
    n: u32,              // product of shape
    offset_x: u32,       // first element of x
    offset_y: u32,       // first element of y
    accumulate: u32,     // 0: overwrite without reading; 1: add
}

#if F16
alias Stored = f16;
#else
alias Stored = f32;
#endif
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (any): source, strided
@group(0) @binding(2) var<storage, read_write> y: array<Stored>; // (any): destination, strided; no two coordinates may meet

@compute @workgroup_size(256)
fn copy_strided(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 256u + lid;
    if i < p.n {
        let at = coords(i, p.shape);
        let at_x = p.offset_x + strided(at, p.stride_x);
        let at_y = p.offset_y + strided(at, p.stride_y);
        if p.accumulate == 0u {
            y[at_y] = x[at_x];
        } else {
            y[at_y] += x[at_x];
        }
    }
}
