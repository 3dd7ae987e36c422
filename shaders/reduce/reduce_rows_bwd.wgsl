// Gradient of reduce_rows_fwd.
//
//   dx[r, c] (=|+=) scale dy[r];   MAX: dx[r, c] (=|+=) dy[r] where c = arg[r], else 0
//
// Source: derivative of reduce_rows_fwd.
// Dispatch: R workgroups of 64, folded; one row per workgroup.
// Passes: 1. Numerics: one product. Limits: 3 storage buffers.
#include "linear.wgsl"

struct Params {
    rows: u32,       // rows
    cols: u32,       // columns
    accumulate: u32, // 0: overwrite without reading; 1: add
    scale: f32,      // as in the forward; not read by MAX
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>; // (R): upstream gradient
#if MAX
@group(0) @binding(2) var<storage, read> arg: array<u32>; // (R): place of the maximum
#endif
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // (R, C): gradient

@compute @workgroup_size(64)
fn reduce_rows_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row = linear_group(wid, nwg);
    if row < p.rows {
        for (var c = lid; c < p.cols; c += 64u) {
#if MAX
            let g = select(0.0, dy[row], c == arg[row]);
#else
            let g = p.scale * dy[row];
#endif
            let i = row * p.cols + c;
            if p.accumulate == 0u {
                dx[i] = g;
            } else {
                dx[i] += g;
            }
        }
    }
}
