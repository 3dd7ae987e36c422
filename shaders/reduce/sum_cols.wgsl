// Sums the rows of a matrix, as for the gradient of a bias.
//
//   y[s, c] (=|+=) sum over rows r in [s per_split, (s + 1) per_split) of x[r, c]
//
// Source: definition.
// Dispatch: (ceil(C / 64), splits, 1) workgroups of 64; one column per invocation.
// Passes: 2 of this kernel for many rows: splits > 1 into a partial (splits, C), then that with
//   one split into the result. 1 for few rows.
// VEC4: four columns per element, C counts elements. F16: x holds f16.
// Numerics: f32, rows in order within a split, splits in order. Limits: 2 storage buffers.
#include "stored.wgsl"

struct Params {
    rows: u32,       // rows
    cols: u32,       // C; with VEC4 a quarter of the columns
    per_split: u32,  // rows per split: ceil(rows / splits)
    accumulate: u32, // 0: overwrite without reading; 1: add
    line: u32,       // elements from one row of x to the next, at least C
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // (rows, C): rows, `line` apart
@group(0) @binding(2) var<storage, read_write> y: array<Real>; // (splits, C): column sums of each split

@compute @workgroup_size(64)
fn sum_cols(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let c = wid.x * 64u + lid;
    if c < p.cols {
        let end = min((wid.y + 1u) * p.per_split, p.rows);
        var sum = Real(0.0);
        for (var r = wid.y * p.per_split; r < end; r++) {
            sum += Real(x[r * p.line + c]);
        }
        let i = wid.y * p.cols + c;
        if p.accumulate == 0u {
            y[i] = sum;
        } else {
            y[i] += sum;
        }
    }
}
