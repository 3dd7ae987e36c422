// Matrix product of few rows with a matrix whose lines run along k: what decoding a token is made of.
//
//   C (= or +=) alpha * A Bt + bias, with LOW_RANK (alpha 1) + scale * U V, or mask * U V
//
// Every line of B is read once, in the order in which it lies, by neighbouring invocations; blocks are made
// plain in registers. What an invocation has read of A serves ROWS lines.
// Source: definition; how blocks lie: blocks.wgsl.
// Dispatch: (ceil(n / ROWS), ceil(m / M), batch) workgroups of WG; an invocation takes every WG-th piece of
// k, and the sums of all are added up in the order of the invocations.
// Passes: 1. Numerics: f32.
// Limits: 4 storage buffers, LOW_RANK: 6, MASKED: 7; 4 M ROWS WG bytes of workgroup memory; k, and what leads from line to line and
// from batch to batch of A and B, are multiples of 4 (BLOCKS: of 32, B without gaps and the same for a whole batch).
#const WG: u32   // invocations of a workgroup
#const ROWS: u32 // lines of B, columns of C: a multiple of 4
#const M: u32    // rows of A and C at a time

#include "matmul_params.wgsl"

#if A16
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>; // (batch, m, k): left operand, four numbers an element
#else
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>; // (batch, m, k): left operand, four numbers an element
#endif
#if BLOCKS
@group(0) @binding(2) var<storage, read> blocks: array<u32>; // (n, k) in blocks: right operand
#else
#if B16
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>; // (batch, n, k): right operand, four numbers an element
#else
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>; // (batch, n, k): right operand, four numbers an element
#endif
#endif
#include "matmul_out.wgsl"
#if LOW_RANK
#include "low_rank_block.wgsl"
#endif
#if BLOCKS
#include "blocks_pieces.wgsl"

// Fours of a piece of k.
const FOURS: u32 = 8u;
#else
const FOURS: u32 = 1u;
#endif

var<workgroup> sums: array<f32, M * ROWS * WG>;

// sum + x y
fn dot_add(x: vec4<f32>, y: vec4<f32>, sum: f32) -> f32 {
    return fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, sum))));
}

@compute @workgroup_size(WG)
fn matmul_vec(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let col = wid.x * ROWS;
    let row = wid.y * M;
    var acc = array<array<f32, ROWS>, M>();
    for (var piece = lid; piece < p.k / (4u * FOURS); piece += WG) {
        var x = array<array<vec4<f32>, FOURS>, M>();
        for (var i = 0u; i < M; i++) {
            // Rows and columns that do not exist read the last one that does; nothing is stored.
            let line = (wid.z * p.a_batch + min(row + i, p.m - 1u) * p.a_row) / 4u;
            for (var g = 0u; g < FOURS; g++) {
                x[i][g] = vec4<f32>(a[line + piece * FOURS + g]);
            }
        }
#if BLOCKS
        // What a block's shift is a factor of.
        var shifted = array<vec2<f32>, M>();
        for (var i = 0u; i < M; i++) {
            let near = (x[i][0] + x[i][1]) + (x[i][2] + x[i][3]);
            let far = (x[i][4] + x[i][5]) + (x[i][6] + x[i][7]);
            shifted[i] = vec2<f32>((near.x + near.y) + (near.z + near.w), (far.x + far.y) + (far.z + far.w));
        }
#endif
        for (var r = 0u; r < ROWS; r++) {
            let line = min(col + r, p.n - 1u);
#if BLOCKS
            let sixteens = line * (p.k / 16u) + 2u * piece;
            var w = piece_of(sixteens / SIXTEENS * BLOCK, sixteens % SIXTEENS);
            for (var i = 0u; i < M; i++) {
                var dots = w.m * shifted[i];
                var near = 0.0;
                var far = 0.0;
                for (var g = 0u; g < 4u; g++) {
                    near = dot_add(w.q[g], x[i][g], near);
                    far = dot_add(w.q[g + 4u], x[i][g + 4u], far);
                }
                acc[i][r] = fma(w.d.x, near, fma(w.d.y, far, acc[i][r] + (dots.x + dots.y)));
            }
#else
            let w = vec4<f32>(b[(wid.z * p.b_batch + line * p.b_col) / 4u + piece]);
            for (var i = 0u; i < M; i++) {
                acc[i][r] = dot_add(w, x[i][0], acc[i][r]);
            }
#endif
        }
    }
    for (var i = 0u; i < M; i++) {
        for (var r = 0u; r < ROWS; r++) {
            sums[(i * ROWS + r) * WG + lid] = acc[i][r];
        }
    }
    workgroupBarrier();
    // Four columns an invocation.
    for (var four = lid; four < M * ROWS / 4u; four += WG) {
        var total = vec4<f32>(0.0);
        let first = four * 4u * WG;
        for (var l = 0u; l < WG; l++) {
            let at = first + l;
            total += vec4<f32>(sums[at], sums[at + WG], sums[at + 2u * WG], sums[at + 3u * WG]);
        }
        let at = col + four % (ROWS / 4u) * 4u;
        let line = row + four / (ROWS / 4u);
#if LOW_RANK
        total += update_at(line, at);
#endif
        store(wid.z, line, at, total, bias_at(at));
    }
}
