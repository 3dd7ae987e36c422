// Gathers rows of a table.
//
//   y[r, :] = table[ids[r], :]           ids[r] >= V (such as 0xFFFFFFFF): zeros
//
// VEC4: four columns per element, C counts elements.
// Source: definition.
// Dispatch: N workgroups of 64, folded; one row per workgroup.
// Passes: 1. Numerics: exact. Limits: 3 storage buffers.
#include "linear.wgsl"
#include "stored.wgsl"
#if TABLE16
#include "half.wgsl"
alias Entry = Half;
#else
alias Entry = Real;
#endif

struct Params {
    rows: u32,      // N
    width: u32,     // C; with VEC4 a quarter of the columns
    vocab: u32,     // V
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>; // (N): row of the table; >= V for none
@group(0) @binding(2) var<storage, read> table: array<Entry>; // (V, C): embeddings
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // (N, C): gathered rows

@compute @workgroup_size(64)
fn embedding_fwd(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let r = linear_group(wid, nwg);
    if r < p.rows {
        let id = ids[r];
        let known = id < p.vocab;
        let start = select(0u, id, known) * p.width;
        for (var c = lid; c < p.width; c += 64u) {
            y[r * p.width + c] = Stored(select(Real(0.0), Real(table[start + c]), known));
        }
    }
}
