// Attention, tiled with online softmax, by subgroup broadcast.
//
//   o[t] = sum_s drop(softmax_s(scale q[t] . k[s])) v[s],   lse[t] = log2 sum_s 2^(log2(e) scale q[t] . k[s])
//   over the keys s < lens[b] and, if causal, those of a window that ends at max(lens[b] - T, 0) + t
//   and, with starts, begins at starts[b, t] or later;
//   o = 0 where there is none; SOFTCAP: cap tanh(score / cap) for each score
//
// Source: Dao 2023, "FlashAttention-2", algorithm 1; online softmax: Milakov and Gimelshein 2018.
// Dispatch: (ceil(T / 32) blocks, NH, B) workgroups of 8, in subgroups of 8 lanes or more;
// a lane has four queries and COLS columns of o. With D > COLS there are several blocks of
// columns, each with its own scores.
// Passes: 1. Eight keys at a time: a lane's scores and probabilities never leave it, since all of
// its row is its own; k and v come in blocks of 4 x 8 that the subgroup shares by broadcast.
// Dropout takes 16 bits of Philox for each pair, so p is rounded to a multiple of 2^-16.
// Numerics: f32, in powers of two. Limits: subgroups of 8 lanes or more; 6 storage buffers.
#const COLS: u32 // columns of a result that a workgroup makes, a multiple of 8
#include "attention_fwd_store.wgsl"
#include "outer_broadcast.wgsl"

const GROUPS: u32 = COLS / 8u;

@compute @workgroup_size(8)
fn attention_fwd_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let batch = wid.z;
    let head = wid.y;
    let tile = p.first_row + wid.x / p.blocks * 32u;
    let first = wid.x % p.blocks * COLS;
    let sequence = batch * p.heads + head;
    let t = tile + lid * 4u;
    let valid = valid_keys(batch);
    let low = unseen(batch, columns(t), valid);
    let high = seen(columns(t), valid);
    let begin = unseen(batch, vec4<u32>(tile), valid).x / 8u * 8u;
    let end = seen(vec4<u32>(min(tile + 32u, p.queries) - 1u), valid).x;
    let rows = array<u32, 4>(q_place(batch, head, t), q_place(batch, head, t + 1u),
        q_place(batch, head, t + 2u), q_place(batch, head, t + 3u));
    let row = block_row(lane);
    let column = block_column(lane);

    var acc = array<array<vec4<f32>, 8>, GROUPS>();
    var top = vec4<f32>(NO_SCORE);
    var sum = vec4<f32>(0.0);
    for (var s = begin; s < end; s += 8u) {
        var f = array<vec4<f32>, 8>();
        let k_lo = k_place(batch, head, s + row);
        let k_hi = k_place(batch, head, s + row + 4u);
        for (var d = 0u; d < p.width; d += 8u) {
            let lo = turned(q4(rows[0], d), q4(rows[1], d), q4(rows[2], d), q4(rows[3], d));
            let hi = turned(q4(rows[0], d + 4u), q4(rows[1], d + 4u), q4(rows[2], d + 4u), q4(rows[3], d + 4u));
            f = add_scores(k4(k_lo, d + column), k4(k_hi, d + column), lo, hi, f);
        }
        let before = top;
        for (var j = 0u; j < 8u; j++) {
            f[j] = select(vec4<f32>(MASKED), scores(f[j]), between(vec4<u32>(s + j), low, high));
            top = max(top, f[j]);
        }
        let old = power(before - top);
        sum *= old;
        for (var j = 0u; j < 8u; j++) {
            f[j] = power(f[j] - top);
            sum += f[j];
        }
#if DROPOUT
        for (var j = 0u; j < 8u; j++) {
            // Both blocks of random bits serve four keys.
            let even = random_bits(sequence, t, s + (j & 4u))[j & 3u];
            let odd = random_bits(sequence, t + 2u, s + (j & 4u))[j & 3u];
            f[j] *= kept(vec4<u32>(even, even >> 16u, odd, odd >> 16u));
        }
#endif
        // Values beyond the valid keys may be anything, infinite too: 0 times one need not be 0.
        let v_lo = v_place(batch, head, s + row);
        let v_hi = v_place(batch, head, s + row + 4u);
        for (var g = 0u; g < GROUPS; g++) {
            let d = first + 8u * g + column;
            let x = select(vec4<f32>(0.0), v4(v_lo, d), s + row < valid);
            let y = select(vec4<f32>(0.0), v4(v_hi, d), s + row + 4u < valid);
            let a = acc[g];
            acc[g] = add_outer(x, y, f, array<vec4<f32>, 8>(a[0] * old, a[1] * old, a[2] * old, a[3] * old,
                a[4] * old, a[5] * old, a[6] * old, a[7] * old));
        }
    }
    let sound = soundness(lanes);
    let inverse = sound * select(vec4<f32>(0.0), 1.0 / sum, sum > vec4<f32>(0.0));
    let lse = sound * select(vec4<f32>(0.0), top + log2(sum), sum > vec4<f32>(0.0));
    // The bound is one that the compiler cannot know: CPU drivers would otherwise unroll the loop over
    // rows and take seconds to compile the stores.
    for (var i = 0u; i < min(p.queries - min(t, p.queries), 4u); i++) {
        for (var g = 0u; g < GROUPS; g++) {
            let d = first + 8u * g;
            store(t + i, head, batch, d, inverse[i] * row_of(acc[g][0], acc[g][1], acc[g][2], acc[g][3], i));
            store(t + i, head, batch, d + 4u, inverse[i] * row_of(acc[g][4], acc[g][5], acc[g][6], acc[g][7], i));
        }
#if LSE
        if first == 0u {
            stats[2u * (sequence * p.queries + t + i)] = lse[i];
        }
#endif
    }
}
