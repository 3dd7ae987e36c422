// Gradient of embedding_fwd: a scatter-add made deterministic by sorting on the host.
//
//   dtable[rows[u], :] (=|+=) sum over k in [starts[u], starts[u + 1]) of dy[order[k], :]
//   rows that no segment names are not touched, with or without accumulate
//
// order lists the positions of the batch sorted by id (stable), one segment per distinct id.
// VEC4: four columns per element, C counts elements. F16: dy holds f16.
// Source: derivative of embedding_fwd.
// Dispatch: U workgroups of 64, folded; one distinct id per workgroup. Unused slots have
// rows[u] = 0xFFFFFFFF (any number >= V) and do nothing, so that a recorded dispatch serves every batch.
// Passes: 1. Numerics: f32, positions in order. Limits: 5 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"

struct Params {
    segments: u32,   // U: slots, used or not
    width: u32,      // C; with VEC4 a quarter of the columns
    vocab: u32,      // V
    accumulate: u32, // 0: overwrite the named rows without reading; 1: add
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> rows: array<u32>; // (U): distinct ids; 0xFFFFFFFF in unused slots
@group(0) @binding(2) var<storage, read> starts: array<u32>; // (U + 1): each segment's first place in order, and the end
@group(0) @binding(3) var<storage, read> order: array<u32>; // (N): positions of the batch, sorted by id (stable)
@group(0) @binding(4) var<storage, read> dy: array<Stored>; // (N, C): upstream gradient
@group(0) @binding(5) var<storage, read_write> dtable: array<Real>; // (V, C): gradient of the table

@compute @workgroup_size(64)
fn embedding_bwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let u = linear_group(wid, nwg);
    if u < p.segments {
        let id = rows[u];
        if id < p.vocab {
            let end = starts[u + 1u];
            for (var c = lid; c < p.width; c += 64u) {
                var sum = Real(0.0);
                for (var k = starts[u]; k < end; k++) {
                    sum += Real(dy[order[k] * p.width + c]);
                }
                let i = id * p.width + c;
                if p.accumulate == 0u {
                    dtable[i] = sum;
                } else {
                    dtable[i] = sum + dtable[i];
                }
            }
        }
    }
}
