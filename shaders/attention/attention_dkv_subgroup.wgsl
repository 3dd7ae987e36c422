// Gradients of attention by its keys and values, by subgroup broadcast.
//
//   p = 2^(log2(e) scale q[t] . k[s] - lse[t]),   dp = drop(do[t] . v[s]),   ds = scale p (dp - delta[t])
//   dk[s] (=|+=) sum_t ds q[t],   dv[s] (=|+=) sum_t drop(p) do[t]
//
// The probabilities are computed again and the mask is drawn again, both as in attention_fwd_subgroup.
// Source: Dao 2023, "FlashAttention-2", algorithm 2; online softmax: Milakov and Gimelshein 2018.
// Dispatch: (ceil(S / 32) blocks, KH, B) workgroups of 8, in subgroups of 8 lanes or more;
// a lane has four keys and COLS columns of dk and dv. With D > COLS there are several blocks of
// columns, each with its own scores.
// Passes: 1, after attention_delta. Eight queries at a time, q and do shared by broadcast.
// TOGETHER: dv lies in the buffer of dk, and what is bound as dv does not matter.
// Numerics: f32, in the order of t. Limits: subgroups of 8 lanes or more; 8 storage buffers.
#const COLS: u32 // columns of a result that a workgroup makes, a multiple of 8
#include "attention_dkv_store.wgsl"
#include "outer_broadcast.wgsl"

const GROUPS: u32 = COLS / 8u;

@compute @workgroup_size(8)
fn attention_dkv_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let batch = wid.z;
    let tile = p.first_row + wid.x / p.blocks * 32u;
    let first = wid.x % p.blocks * COLS;
    let first_head = wid.y * p.group;
    let s = tile + lid * 4u;
    let valid = valid_keys(batch);
    // The first query that sees the first of these keys, and the end of those that see the last.
    let earliest = select(0u, max(tile, cached(valid)) - cached(valid), p.causal != 0u);
    let reach = max(tile + 31u + min(p.window, p.queries + p.keys), cached(valid)) - cached(valid);
    let end = select(0u, select(p.queries, min(p.queries, reach), p.causal != 0u), tile < valid);
    let k_rows = array<u32, 4>(k_place(batch, first_head, s), k_place(batch, first_head, s + 1u),
        k_place(batch, first_head, s + 2u), k_place(batch, first_head, s + 3u));
    let v_rows = array<u32, 4>(v_place(batch, first_head, s), v_place(batch, first_head, s + 1u),
        v_place(batch, first_head, s + 2u), v_place(batch, first_head, s + 3u));
    let row = block_row(lane);
    let column = block_column(lane);

    var k_acc = array<array<vec4<f32>, 8>, GROUPS>();
    var v_acc = array<array<vec4<f32>, 8>, GROUPS>();
    for (var head = first_head; head < first_head + p.group; head++) {
        let sequence = batch * p.heads + head;
        for (var t = earliest / 8u * 8u; t < end; t += 8u) {
#if STARTS
            // Later queries begin later still.
            if unseen(batch, vec4<u32>(t), valid).x > tile + 31u {
                break;
            }
#endif
            var f = array<vec4<f32>, 8>();
            var g = array<vec4<f32>, 8>();
            let q_lo = q_place(batch, head, t + row);
            let q_hi = q_place(batch, head, t + row + 4u);
            let d_lo = dout_place(batch, head, t + row);
            let d_hi = dout_place(batch, head, t + row + 4u);
            for (var d = 0u; d < p.width; d += 8u) {
                let lo = turned(k4(k_rows[0], d), k4(k_rows[1], d), k4(k_rows[2], d), k4(k_rows[3], d));
                let hi = turned(k4(k_rows[0], d + 4u), k4(k_rows[1], d + 4u), k4(k_rows[2], d + 4u), k4(k_rows[3], d + 4u));
                f = add_scores(q4(q_lo, d + column), q4(q_hi, d + column), lo, hi, f);
                let vlo = turned(v4(v_rows[0], d), v4(v_rows[1], d), v4(v_rows[2], d), v4(v_rows[3], d));
                let vhi = turned(v4(v_rows[0], d + 4u), v4(v_rows[1], d + 4u), v4(v_rows[2], d + 4u), v4(v_rows[3], d + 4u));
                g = add_scores(dout4(d_lo, d + column), dout4(d_hi, d + column), vlo, vhi, g);
            }
            // Each lane fetches the numbers of one of the eight queries.
            let at = 2u * (sequence * p.queries + min(t + (lane & 7u), p.queries - 1u));
            let own_lse = stats[at];
            let own_delta = stats[at + 1u];
            let lses = array<f32, 8>(subgroupBroadcast(own_lse, 0u), subgroupBroadcast(own_lse, 1u),
                subgroupBroadcast(own_lse, 2u), subgroupBroadcast(own_lse, 3u), subgroupBroadcast(own_lse, 4u),
                subgroupBroadcast(own_lse, 5u), subgroupBroadcast(own_lse, 6u), subgroupBroadcast(own_lse, 7u));
            let deltas = array<f32, 8>(subgroupBroadcast(own_delta, 0u), subgroupBroadcast(own_delta, 1u),
                subgroupBroadcast(own_delta, 2u), subgroupBroadcast(own_delta, 3u), subgroupBroadcast(own_delta, 4u),
                subgroupBroadcast(own_delta, 5u), subgroupBroadcast(own_delta, 6u), subgroupBroadcast(own_delta, 7u));
            // The probabilities for dv and, in place of dp, ds for dk.
            for (var j = 0u; j < 8u; j++) {
                let query = vec4<u32>(t + j);
                let high = select(vec4<u32>(0u), seen(query, valid), query < vec4<u32>(p.queries));
                let sees = between(columns(s), unseen(batch, query, valid), high);
                let probability = power(scores(f[j]) - lses[j]);
#if DROPOUT
                // A block of random bits serves a pair of queries.
                let bits = random_bits(sequence, t + (j & 6u), s) >> vec4<u32>(16u * (j & 1u));
                let factors = kept(bits);
#else
                let factors = vec4<f32>(1.0);
#endif
                let ds = slopes(f[j]) * probability * (g[j] * factors - deltas[j]);
                f[j] = select(vec4<f32>(0.0), probability * factors, sees);
                g[j] = select(vec4<f32>(0.0), ds, sees);
            }
            for (var i = 0u; i < GROUPS; i++) {
                let d = first + 8u * i + column;
                v_acc[i] = add_outer(dout4(d_lo, d), dout4(d_hi, d), f, v_acc[i]);
                k_acc[i] = add_outer(q4(q_lo, d), q4(q_hi, d), g, k_acc[i]);
            }
        }
    }
    let sound = soundness(lanes);
    // The bound is one that the compiler cannot know: CPU drivers would otherwise unroll the loop over
    // rows and take seconds to compile the stores.
    for (var i = 0u; i < min(p.keys - min(s, p.keys), 4u); i++) {
        for (var g = 0u; g < GROUPS; g++) {
            let d = first + 8u * g;
            let a = k_acc[g];
            let b = v_acc[g];
            store(s + i, first_head, batch, d, sound * row_of(a[0], a[1], a[2], a[3], i),
                sound * row_of(b[0], b[1], b[2], b[3], i));
            store(s + i, first_head, batch, d + 4u, sound * row_of(a[4], a[5], a[6], a[7], i),
                sound * row_of(b[4], b[5], b[6], b[7], i));
        }
    }
}
