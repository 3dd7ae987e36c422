// Rows of a matrix by a list of row numbers.
//
//   y[m, :] (=|+=) x[rows[m], :]          rows[m] >= N (such as 0xFFFFFFFF): zeros
//
// Where no row is named twice the gradient is this kernel again, with the inverse list.
// VEC4: four columns per element, C counts elements. F16: x and y hold f16.
// Source: definition.
// Dispatch: M workgroups of 64, folded; one row per workgroup.
// Passes: 1. Numerics: exact, or one sum. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    rows: u32,       // M
    width: u32,      // C; with VEC4 a quarter of the columns
    sources: u32,    // N
    accumulate: u32, // 0: overwrite without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>; // (M): row numbers; >= N: zeros
@group(0) @binding(2) var<storage, read> x: array<Stored>; // (N, C): matrix
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (M, C): chosen rows

@compute @workgroup_size(64)
fn gather_rows(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let m = linear_group(wid, nwg);
    if m < p.rows {
        let row = rows[m];
        let known = row < p.sources;
        let start = select(0u, row, known) * p.width;
        for (var c = lid; c < p.width; c += 64u) {
            let i = m * p.width + c;
            var v = select(Real(0.0), Real(x[start + c]), known);
            if p.accumulate != 0u {
                v += Real(y[i]);
            }
            y[i] = Stored(v);
        }
    }
}
