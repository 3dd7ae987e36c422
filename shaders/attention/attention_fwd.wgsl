// Attention, tiled with online softmax, over workgroup memory.
//
//   o[t] = sum_s drop(softmax_s(scale q[t] . k[s])) v[s],   lse[t] = log2 sum_s 2^(log2(e) scale q[t] . k[s])
//   over the keys s < lens[b] and, if causal, those of a window that ends at max(lens[b] - T, 0) + t
//   and, with starts, begins at starts[b, t] or later;
//   o = 0 where there is none; SOFTCAP: cap tanh(score / cap) for each score
//
// Source: Dao 2023, "FlashAttention-2", algorithm 1; online softmax: Milakov and Gimelshein 2018.
// Dispatch: (ceil(T / 32) blocks, NH, B) workgroups of 64, each with 32 queries and COLS columns of
// o. With D > COLS there are several blocks of columns, each with its own scores.
// Passes: 1. Tiles of 32 keys, in slices of 32 columns; an invocation has four queries by four keys
// of the scores, and four queries by four columns of each slice of o.
// Dropout takes 16 bits of Philox for each pair, so p is rounded to a multiple of 2^-16.
// Numerics: f32, in powers of two. Limits: 6 storage buffers; 13 KiB of workgroup memory.
#const COLS: u32 // columns of a result that a workgroup makes, a multiple of 32
#include "attention_fwd_store.wgsl"
#include "attention_tile.wgsl"

const SLICES: u32 = COLS / 32u;

// What the eight invocations that share four rows exchange.
var<workgroup> parts: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn attention_fwd(
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
    // What this invocation fetches of a slice: four rows from 4 c on, four columns from 4 r on.
    let rows = array<u32, 4>(q_place(batch, head, tile + 4u * c), q_place(batch, head, tile + 4u * c + 1u),
        q_place(batch, head, tile + 4u * c + 2u), q_place(batch, head, tile + 4u * c + 3u));

    var acc = array<array<vec4<f32>, 4>, SLICES>();
    var top = vec4<f32>(NO_SCORE);
    var sum = vec4<f32>(0.0);
    for (var s0 = begin; s0 < end; s0 += 32u) {
        var f = array<vec4<f32>, 4>();
        let key = s0 + 4u * c;
        let keys = array<u32, 4>(k_place(batch, head, key), k_place(batch, head, key + 1u),
            k_place(batch, head, key + 2u), k_place(batch, head, key + 3u));
        for (var d0 = 0u; d0 < p.width; d0 += 32u) {
            let d = d0 + 4u * r;
            workgroupBarrier();
            put_rows(lid, turned(q4(rows[0], d), q4(rows[1], d), q4(rows[2], d), q4(rows[3], d)));
            put_others(lid, turned(k4(keys[0], d), k4(keys[1], d), k4(keys[2], d), k4(keys[3], d)));
            workgroupBarrier();
            f = add_scores(lid, f);
        }
        for (var j = 0u; j < 4u; j++) {
            f[j] = select(vec4<f32>(MASKED), scores(f[j]), between(vec4<u32>(key + j), low, high));
        }
        parts[c * 8u + r] = max(max(f[0], f[1]), max(f[2], f[3]));
        workgroupBarrier();
        let before = top;
        for (var i = 0u; i < 8u; i++) {
            top = max(top, parts[i * 8u + r]);
        }
        let old = power(before - top);
        sum *= old;
        for (var j = 0u; j < 4u; j++) {
            f[j] = power(f[j] - top);
            sum += f[j];
        }
#if DROPOUT
        let even = random_bits(sequence, t, key);
        let odd = random_bits(sequence, t + 2u, key);
        for (var j = 0u; j < 4u; j++) {
            f[j] *= kept(vec4<u32>(even[j], even[j] >> 16u, odd[j], odd[j] >> 16u));
        }
#endif
        put_factors(lid, f);
        for (var g = 0u; g < SLICES; g++) {
            workgroupBarrier();
            for (var i = 0u; i < 4u; i++) {
                // Values beyond the valid keys may be anything, infinite too: 0 times one need not be 0.
                let s = s0 + r + 8u * i;
                let line = v4(v_place(batch, head, s), first + 32u * g + 4u * c);
                other_slice[lid + 64u * i] = select(vec4<f32>(0.0), line, s < valid);
            }
            workgroupBarrier();
            let a = acc[g];
            acc[g] = add_outer(lid, array<vec4<f32>, 4>(a[0] * old.x, a[1] * old.y, a[2] * old.z, a[3] * old.w));
        }
    }
    parts[c * 8u + r] = sum;
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < 8u; i++) {
        total += parts[i * 8u + r];
    }
    let inverse = select(vec4<f32>(0.0), 1.0 / total, total > vec4<f32>(0.0));
    for (var g = 0u; g < SLICES; g++) {
        for (var i = 0u; i < 4u; i++) {
            store(t + i, head, batch, first + 32u * g + 4u * c, acc[g][i] * inverse[i]);
        }
    }
#if LSE
    let lse = select(vec4<f32>(0.0), top + log2(total), total > vec4<f32>(0.0));
    for (var i = 0u; i < 4u; i++) {
        if first == 0u && c == 0u && t + i < p.queries {
            stats[2u * (sequence * p.queries + t + i)] = lse[i];
        }
    }
#endif
}
