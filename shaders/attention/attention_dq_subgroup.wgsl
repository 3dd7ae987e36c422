// Gradient of attention by its queries, by subgroup broadcast.
//
//   p = 2^(log2(e) scale q[t] . k[s] - lse[t]),   dp = drop(do[t] . v[s]),   ds = scale p (dp - delta[t])
//   dq[t] (=|+=) sum_s ds k[s]
//
// The probabilities are computed again and the mask is drawn again, both as in attention_fwd_subgroup.
// Source: Dao 2023, "FlashAttention-2", algorithm 2; online softmax: Milakov and Gimelshein 2018.
// Dispatch: (ceil(T / 32) blocks, NH, B) workgroups of 8, in subgroups of 8 lanes or more;
// a lane has four queries and COLS columns of dq. With D > COLS there are several blocks of
// columns, each with its own scores.
// Passes: 1, after attention_delta. Eight keys at a time, k and v shared by broadcast.
// Numerics: f32, in the order of s. Limits: subgroups of 8 lanes or more; 7 storage buffers.
#const COLS: u32 // columns of a result that a workgroup makes, a multiple of 8
#include "attention_dq_store.wgsl"
#include "outer_broadcast.wgsl"

const GROUPS: u32 = COLS / 8u;

@compute @workgroup_size(8)
fn attention_dq_subgroup(
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
    let douts = array<u32, 4>(dout_place(batch, head, t), dout_place(batch, head, t + 1u),
        dout_place(batch, head, t + 2u), dout_place(batch, head, t + 3u));
    let at = 2u * (sequence * p.queries + min(columns(t), vec4<u32>(p.queries - 1u)));
    let lse = vec4<f32>(stats[at.x], stats[at.y], stats[at.z], stats[at.w]);
    let delta = vec4<f32>(stats[at.x + 1u], stats[at.y + 1u], stats[at.z + 1u], stats[at.w + 1u]);
    let row = block_row(lane);
    let column = block_column(lane);

    var acc = array<array<vec4<f32>, 8>, GROUPS>();
    for (var s = begin; s < end; s += 8u) {
        var f = array<vec4<f32>, 8>();
        var g = array<vec4<f32>, 8>();
        let k_lo = k_place(batch, head, s + row);
        let k_hi = k_place(batch, head, s + row + 4u);
        let v_lo = v_place(batch, head, s + row);
        let v_hi = v_place(batch, head, s + row + 4u);
        for (var d = 0u; d < p.width; d += 8u) {
            let lo = turned(q4(rows[0], d), q4(rows[1], d), q4(rows[2], d), q4(rows[3], d));
            let hi = turned(q4(rows[0], d + 4u), q4(rows[1], d + 4u), q4(rows[2], d + 4u), q4(rows[3], d + 4u));
            f = add_scores(k4(k_lo, d + column), k4(k_hi, d + column), lo, hi, f);
            let dlo = turned(dout4(douts[0], d), dout4(douts[1], d), dout4(douts[2], d), dout4(douts[3], d));
            let dhi = turned(dout4(douts[0], d + 4u), dout4(douts[1], d + 4u), dout4(douts[2], d + 4u), dout4(douts[3], d + 4u));
            g = add_scores(v4(v_lo, d + column), v4(v_hi, d + column), dlo, dhi, g);
        }
#if DROPOUT
        for (var j = 0u; j < 8u; j++) {
            // Both blocks of random bits serve four keys.
            let even = random_bits(sequence, t, s + (j & 4u))[j & 3u];
            let odd = random_bits(sequence, t + 2u, s + (j & 4u))[j & 3u];
            g[j] *= kept(vec4<u32>(even, even >> 16u, odd, odd >> 16u));
        }
#endif
        for (var j = 0u; j < 8u; j++) {
            let ds = slopes(f[j]) * power(scores(f[j]) - lse) * (g[j] - delta);
            f[j] = select(vec4<f32>(0.0), ds, between(vec4<u32>(s + j), low, high));
        }
        // Values beyond the valid keys may be anything, infinite too: 0 times one need not be 0.
        for (var i = 0u; i < GROUPS; i++) {
            let d = first + 8u * i + column;
            let x = select(vec4<f32>(0.0), k4(k_lo, d), s + row < valid);
            let y = select(vec4<f32>(0.0), k4(k_hi, d), s + row + 4u < valid);
            acc[i] = add_outer(x, y, f, acc[i]);
        }
    }
    let sound = soundness(lanes);
    // The bound is one that the compiler cannot know: CPU drivers would otherwise unroll the loop over
    // rows and take seconds to compile the stores.
    for (var i = 0u; i < min(p.queries - min(t, p.queries), 4u); i++) {
        for (var g = 0u; g < GROUPS; g++) {
            let d = first + 8u * g;
            store(t + i, head, batch, d, sound * row_of(acc[g][0], acc[g][1], acc[g][2], acc[g][3], i));
            store(t + i, head, batch, d + 4u, sound * row_of(acc[g][4], acc[g][5], acc[g][6], acc[g][7], i));
        }
    }
}
