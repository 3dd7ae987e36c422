// Gradients of attention by its keys and values, over workgroup memory.
//
//   p = 2^(log2(e) scale q[t] . k[s] - lse[t]),   dp = drop(do[t] . v[s]),   ds = scale p (dp - delta[t])
//   dk[s] (=|+=) sum_t ds q[t],   dv[s] (=|+=) sum_t drop(p) do[t]
//
// The probabilities are computed again and the mask is drawn again, both as in attention_fwd.
// Source: Dao 2023, "FlashAttention-2", algorithm 2; online softmax: Milakov and Gimelshein 2018.
// Dispatch: (ceil(S / 32) blocks, KH, B) workgroups of 64, each with 32 keys and COLS columns of dk
// and dv. With D > COLS there are several blocks of columns, each with its own scores.
// Passes: 1, after attention_delta. Tiles of 32 queries, in slices of 32 columns, as attention_fwd
// with keys as rows.
// TOGETHER: dv lies in the buffer of dk, and what is bound as dv does not matter.
// Numerics: f32, in the order of t. Limits: 8 storage buffers; 12 KiB of workgroup memory.
#const COLS: u32 // columns of a result that a workgroup makes, a multiple of 32
#include "attention_dkv_store.wgsl"
#include "attention_tile.wgsl"

const SLICES: u32 = COLS / 32u;

@compute @workgroup_size(64)
fn attention_dkv(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let batch = wid.z;
    let tile = p.first_row + wid.x / p.blocks * 32u;
    let first = wid.x % p.blocks * COLS;
    let first_head = wid.y * p.group;
    let r = lid / 8u;
    let c = lid % 8u;
    let s = tile + r * 4u;
    let valid = valid_keys(batch);
    // The first query that sees the first of these keys, and the end of those that see the last.
    let earliest = select(0u, max(tile, cached(valid)) - cached(valid), p.causal != 0u);
    let reach = max(tile + 31u + min(p.window, p.queries + p.keys), cached(valid)) - cached(valid);
    let end = select(0u, select(p.queries, min(p.queries, reach), p.causal != 0u), tile < valid);
    let key = tile + 4u * c;

    var k_acc = array<array<vec4<f32>, 4>, SLICES>();
    var v_acc = array<array<vec4<f32>, 4>, SLICES>();
    for (var head = first_head; head < first_head + p.group; head++) {
        let sequence = batch * p.heads + head;
        for (var t0 = earliest / 32u * 32u; t0 < end; t0 += 32u) {
#if STARTS
            // Later queries begin later still.
            if unseen(batch, vec4<u32>(t0), valid).x > tile + 31u {
                break;
            }
#endif
            var f = array<vec4<f32>, 4>();
            var g = array<vec4<f32>, 4>();
            let t = t0 + 4u * c;
            for (var d0 = 0u; d0 < p.width; d0 += 32u) {
                let d = d0 + 4u * r;
                workgroupBarrier();
                put_rows(lid, turned(k4(k_place(batch, head, key), d), k4(k_place(batch, head, key + 1u), d),
                    k4(k_place(batch, head, key + 2u), d), k4(k_place(batch, head, key + 3u), d)));
                put_others(lid, turned(q4(q_place(batch, head, t), d), q4(q_place(batch, head, t + 1u), d),
                    q4(q_place(batch, head, t + 2u), d), q4(q_place(batch, head, t + 3u), d)));
                workgroupBarrier();
                f = add_scores(lid, f);
                workgroupBarrier();
                put_rows(lid, turned(v4(v_place(batch, head, key), d), v4(v_place(batch, head, key + 1u), d),
                    v4(v_place(batch, head, key + 2u), d), v4(v_place(batch, head, key + 3u), d)));
                put_others(lid, turned(dout4(dout_place(batch, head, t), d), dout4(dout_place(batch, head, t + 1u), d),
                    dout4(dout_place(batch, head, t + 2u), d), dout4(dout_place(batch, head, t + 3u), d)));
                workgroupBarrier();
                g = add_scores(lid, g);
            }
            // The probabilities for dv and, in place of dp, ds for dk.
            for (var j = 0u; j < 4u; j++) {
                let query = vec4<u32>(t + j);
                let high = select(vec4<u32>(0u), seen(query, valid), query < vec4<u32>(p.queries));
                let sees = between(columns(s), unseen(batch, query, valid), high);
                let at = 2u * (sequence * p.queries + min(t + j, p.queries - 1u));
                let probability = power(scores(f[j]) - stats[at]);
#if DROPOUT
                // A block of random bits serves a pair of queries.
                let bits = random_bits(sequence, t + (j & 2u), s) >> vec4<u32>(16u * (j & 1u));
                let dropped = kept(bits);
#else
                let dropped = vec4<f32>(1.0);
#endif
                let ds = slopes(f[j]) * probability * (g[j] * dropped - stats[at + 1u]);
                f[j] = select(vec4<f32>(0.0), probability * dropped, sees);
                g[j] = select(vec4<f32>(0.0), ds, sees);
            }
            put_factors(lid, f);
            for (var i = 0u; i < SLICES; i++) {
                workgroupBarrier();
                for (var l = 0u; l < 4u; l++) {
                    other_slice[lid + 64u * l] = dout4(dout_place(batch, head, t0 + r + 8u * l), first + 32u * i + 4u * c);
                }
                workgroupBarrier();
                v_acc[i] = add_outer(lid, v_acc[i]);
            }
            workgroupBarrier();
            put_factors(lid, g);
            for (var i = 0u; i < SLICES; i++) {
                workgroupBarrier();
                for (var l = 0u; l < 4u; l++) {
                    other_slice[lid + 64u * l] = q4(q_place(batch, head, t0 + r + 8u * l), first + 32u * i + 4u * c);
                }
                workgroupBarrier();
                k_acc[i] = add_outer(lid, k_acc[i]);
            }
        }
    }
    for (var i = 0u; i < SLICES; i++) {
        for (var l = 0u; l < 4u; l++) {
            store(s + l, first_head, batch, first + 32u * i + 4u * c, k_acc[i][l], v_acc[i][l]);
        }
    }
}
