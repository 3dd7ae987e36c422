// Rows of a matrix that is packed in blocks, as plain numbers.
//
//   y[r, :] = the numbers of row first + r;   ROWS: of row rows[r], zeros where there is none
//
// Source: llama.cpp's block formats, bit by bit; NF4: Dettmers et al. 2023, "QLoRA", section 3.
// Dispatch: ceil(n / 64) workgroups of 64, folded; an invocation makes sixteen numbers.
// Passes: 1. F16: y holds f16.
// Numerics: one product and one sum in f32, as the packages that write these formats have it.
// Limits: 3 storage buffers; blocks are read as they lie, on any byte.
#include "linear.wgsl"

struct Params {
    n: u32,         // sixteens that are made: rows times C / 16
    per_row: u32,   // C / 16
    total: u32,     // rows of the matrix
    first: u32,     // first row; without ROWS
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> blocks: array<u32>; // (total, C) in blocks: packed rows
#if ROWS
@group(0) @binding(2) var<storage, read> rows: array<u32>; // (n / per_row): which rows
#endif
#if F16
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f16>>; // (n, 16): result, four numbers an element
#else
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // (n, 16): result, four numbers an element
#endif
#include "blocks.wgsl"

@compute @workgroup_size(64)
fn expand(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = linear_group(wid, nwg) * 64u + lid;
    if i < p.n {
#if ROWS
        let row = rows[i / p.per_row];
#else
        let row = p.first + i / p.per_row;
#endif
        let sixteens = min(row, p.total - 1u) * p.per_row + i % p.per_row;
        let at = sixteens / SIXTEENS * BLOCK;
        let part = sixteens % SIXTEENS;
        let s = sixteen(at, part);
        for (var g = 0u; g < 4u; g++) {
            let v = select(vec4<f32>(0.0), four_of(s, at, part, g), row < p.total);
#if F16
            y[4u * i + g] = vec4<f16>(v);
#else
            y[4u * i + g] = v;
#endif
        }
    }
}
