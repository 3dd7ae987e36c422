// Gathers rows of a table.
//
//   y[r, :] = table[ids[r], :]           ids[r] >= V (such as 0xFFFFFFFF): zeros
//   ROW_DROPOUT: times 0 or scale, one draw per vocabulary entry: all its occurrences together
//
// VEC4: four columns per element, C counts elements.
// Source: embedding dropout: Gal & Ghahramani 2016, section 4.2; Merity et al. 2018, section 4.3.
// Dispatch: N workgroups of 64, folded; one row per workgroup.
// Passes: 1. Numerics: exact, or one product. Limits: 4 storage buffers.
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
    layer: u32,     // stream of the mask; ROW_DROPOUT only
    threshold: u32, // p 2^32; ROW_DROPOUT only
    scale: f32,     // 1 / (1 - p); ROW_DROPOUT only
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>; // (N): row of the table; >= V for none
@group(0) @binding(2) var<storage, read> table: array<Entry>; // (V, C): embeddings
#if ROW_DROPOUT
@group(0) @binding(3) var<storage, read> state: StepState; // (28 bytes): what changes per step, written by the host
#include "random.wgsl"
#endif
@group(0) @binding(4) var<storage, read_write> y: array<Stored>; // (N, C): gathered rows

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
        var keep = known;
#if ROW_DROPOUT
        keep = keep && random_words(id / 4u, p.layer)[id % 4u] >= p.threshold;
#endif
        for (var c = lid; c < p.width; c += 64u) {
            var v = Real(table[start + c]);
#if ROW_DROPOUT
            v *= p.scale;
#endif
            y[r * p.width + c] = Stored(select(Real(0.0), v, keep));
        }
    }
}
