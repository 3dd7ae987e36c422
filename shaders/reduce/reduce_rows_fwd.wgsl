// Sum, mean or maximum of each row.
//
//   y[r] = scale * sum over c of x[r, c]     (scale = 1: sum, 1/C: mean)
//   MAX: y[r] = max over c of x[r, c], arg[r] = the first c that attains it
//
// Source: definition.
// Dispatch: R workgroups of 64, folded; one row per workgroup.
// Passes: 1. Numerics: each lane sums every 64th element, then a tree; fixed order.
// Limits: 3 storage buffers, 512 bytes.
#include "linear.wgsl"

struct Params {
    rows: u32,  // rows
    cols: u32,  // columns
    scale: f32, // 1: sum, 1/C: mean; not read by MAX
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // (R, C): rows
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (R): one value per row
#if MAX
@group(0) @binding(3) var<storage, read_write> arg: array<u32>; // (R): place of the maximum
#endif

const WG = 64u;
const LOWEST = -3.4028234663852886e38;
#if MAX
var<workgroup> best_value: array<f32, WG>;
var<workgroup> best_index: array<u32, WG>;
#else
#include "reduce.wgsl"
#endif

@compute @workgroup_size(64)
fn reduce_rows_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = linear_group(wid, nwg);
    let cols = select(0u, p.cols, row < p.rows);
    let first = row * p.cols;
#if MAX
    // A lane without elements keeps the index `cols`, which loses every tie.
    var value = LOWEST;
    var index = p.cols;
    for (var c = lid; c < cols; c += WG) {
        let v = x[first + c];
        if v > value || index == p.cols {
            value = v;
            index = c;
        }
    }
    best_value[lid] = value;
    best_index[lid] = index;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half >>= 1u) {
        if lid < half {
            let v = best_value[lid + half];
            let i = best_index[lid + half];
            if v > best_value[lid] || (v == best_value[lid] && i < best_index[lid]) {
                best_value[lid] = v;
                best_index[lid] = i;
            }
        }
        workgroupBarrier();
    }
    if row < p.rows && lid == 0u {
        y[row] = best_value[0];
        arg[row] = best_index[0];
    }
#else
    var sum = 0.0;
    for (var c = lid; c < cols; c += WG) {
        sum += x[first + c];
    }
    let total = workgroup_sum(lid, sum);
    if row < p.rows && lid == 0u {
        y[row] = p.scale * total;
    }
#endif
}
