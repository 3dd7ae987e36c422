// Gradient of attention by its queries, over workgroup memory.
//
//   p = 2^(log2(e) scale q[t] . k[s] - lse[t]),   dp = drop(do[t] . v[s]),   ds = scale p (dp - delta[t])
//   dq[t] (=|+=) sum_s ds k[s]
//
// The probabilities are computed again and the mask is drawn again, both as in attention_fwd.
// Source: Dao 2023, "FlashAttention-2", algorithm 2; online softmax: Milakov and Gimelshein 2018.
// Dispatch: (ceil(T / 32) blocks, NH, B) workgroups of 64, each with 32 queries and COLS columns of
// dq. With D > COLS there are several blocks of columns, each with its own scores.
// Passes: 1, after attention_delta. Tiles of 32 keys, in slices of 32 columns, as attention_fwd.
// Numerics: f32, in the order of s. Limits: 7 storage buffers; 12 KiB of workgroup memory.
#const COLS: u32 // columns of a result that a workgroup makes, a multiple of 32
#include "attention_dq_store.wgsl"
#include "attention_tile.wgsl"

const SLICES: u32 = COLS / 32u;

@compute @workgroup_size(64)
fn attention_dq(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let batch = wid.z;
    let head = wid.y;
    let tile = p.first_row + wid.x / p.blocks * 32u;
    let first = wid.x % p.blocks * COLS;
    let sequence = batch * p.heads + head;
    let r = lid / 8u;
    let c = lid % 8u;
    let t = tile + r * 4u;
    let valid = valid_keys(batch);
    let low = unseen(batch, columns(t), valid);
    let high = seen(columns(t), valid);
    let begin = unseen(batch, vec4<u32>(tile), valid).x / 32u * 32u;
    let end = seen(vec4<u32>(min(tile + 32u, p.queries) - 1u), valid).x;
    let query = tile + 4u * c;
    let at = 2u * (sequence * p.queries + min(columns(t), vec4<u32>(p.queries - 1u)));
    let lse = vec4<f32>(stats[at.x], stats[at.y], stats[at.z], stats[at.w]);
    let delta = vec4<f32>(stats[at.x + 1u], stats[at.y + 1u], stats[at.z + 1u], stats[at.w + 1u]);

    var acc = array<array<vec4<f32>, 4>, SLICES>();
    for (var s0 = begin; s0 < end; s0 += 32u) {
        var f = array<vec4<f32>, 4>();
        var g = array<vec4<f32>, 4>();
        let key = s0 + 4u * c;
        for (var d0 = 0u; d0 < p.width; d0 += 32u) {
            let d = d0 + 4u * r;
            workgroupBarrier();
            put_rows(lid, turned(q4(q_place(batch, head, query), d), q4(q_place(batch, head, query + 1u), d),
                q4(q_place(batch, head, query + 2u), d), q4(q_place(batch, head, query + 3u), d)));
            put_others(lid, turned(k4(k_place(batch, head, key), d), k4(k_place(batch, head, key + 1u), d),
                k4(k_place(batch, head, key + 2u), d), k4(k_place(batch, head, key + 3u), d)));
            workgroupBarrier();
            f = add_scores(lid, f);
            workgroupBarrier();
            put_rows(lid, turned(dout4(dout_place(batch, head, query), d), dout4(dout_place(batch, head, query + 1u), d),
                dout4(dout_place(batch, head, query + 2u), d), dout4(dout_place(batch, head, query + 3u), d)));
            put_others(lid, turned(v4(v_place(batch, head, key), d), v4(v_place(batch, head, key + 1u), d),
                v4(v_place(batch, head, key + 2u), d), v4(v_place(batch, head, key + 3u), d)));
            workgroupBarrier();
            g = add_scores(lid, g);
        }
#if DROPOUT
        let even = random_bits(sequence, t, key);
        let odd = random_bits(sequence, t + 2u, key);
        for (var j = 0u; j < 4u; j++) {
            g[j] *= kept(vec4<u32>(even[j], even[j] >> 16u, odd[j], odd[j] >> 16u));
        }
#endif
        for (var j = 0u; j < 4u; j++) {
            let ds = slopes(f[j]) * power(scores(f[j]) - lse) * (g[j] - delta);
            f[j] = select(vec4<f32>(0.0), ds, between(vec4<u32>(key + j), low, high));
        }
        put_factors(lid, f);
        for (var i = 0u; i < SLICES; i++) {
            workgroupBarrier();
            for (var l = 0u; l < 4u; l++) {
                // Values beyond the valid keys may be anything, infinite too: 0 times one need not be 0.
                let s = s0 + r + 8u * l;
                let line = k4(k_place(batch, head, s), first + 32u * i + 4u * c);
                other_slice[lid + 64u * l] = select(vec4<f32>(0.0), line, s < valid);
            }
            workgroupBarrier();
            acc[i] = add_outer(lid, acc[i]);
        }
    }
    for (var g = 0u; g < SLICES; g++) {
        for (var i = 0u; i < 4u; i++) {
            store(t + i, head, batch, first + 32u * g + 4u * c, acc[g][i]);
        }
    }
}
