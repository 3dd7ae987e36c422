// Matrix product of operands that were copied into images, by subgroup broadcast.
//
//   C (= or +=) alpha * A B + bias, with LOW_RANK (alpha 1) + scale * U V, or mask * U V
//
// For drivers that run on a CPU: one fetch from an image brings four floats to each of eight lanes
// by eight vector loads and a transposition, where a load from a buffer is a loop over the lanes.
// An operand whose lines in memory run along k is an image of those lines. One whose lines lie
// across k is cut into panels of 64 floats of each line, one a layer, so that what a workgroup
// reads of it lies together. Both are made by the driver's own copies from a buffer, which
// need lines a multiple of 256 bytes apart: where only every FOLDth line is, FOLD layers receive lines
// in turn.
// Source: definition.
// Dispatch: (ceil(m / ROWS), ceil(n / 64), batch) workgroups of 8; one invocation makes ROWS rows by
// columns 4 i .. 4 i + 4 and 32 on, in subgroups of 8 lanes or more. Consecutive workgroups share 64
// columns of B, which stay in the cache while rows of A pass by.
// PICTURE_A: row i of A is the taps of a window at position i of pictures, k = (tap, channel), and the lines are
// pixels: a convolution, or its gradient by the source. PICTURE_B: so is row k of B, n = (tap, channel): the gradient
// of the weights. Channels are a multiple of 4.
// Passes: 1.
// Numerics: f32, one running sum per element in the order of k.
// Limits: k % 4 = 0, or zeros beyond k in both; lines of whole texels; 2 storage images, 2 storage buffers, LOW_RANK: 4, MASKED: 5; subgroups of 8
// lanes or more; no workgroup memory. What is read beyond m or n is never stored.
#const ROWS: u32 // rows of an invocation, a multiple of 8
#const FOLD_A: u32 // layers that receive the lines of A in turn, a power of two
#const FOLD_B: u32 // the same of B

struct Params {
    m: u32,          // rows of C
    n: u32,          // columns of C
    k: u32,          // inner size, a multiple of 4, or any where A and B have lines of zeros up to the next
    ldc: u32,        // floats from one row of C to the next; TRANS_C: from one column
    a_batch: u32,    // layers from one batch of A to the next
    b_batch: u32,    // layers from one batch of B to the next
    c_batch: u32,    // floats from one batch of C to the next
    accumulate: u32, // 0: overwrite, 1: add
    has_bias: u32,   // 0: bias is not read
    alpha: f32,      // factor of the product
#include "low_rank_params.wgsl"
}

#if A16
alias ImageA = texture_storage_2d_array<rgba16float, read>;
#else
alias ImageA = texture_storage_2d_array<rgba32float, read>;
#endif
#if B16
alias ImageB = texture_storage_2d_array<rgba16float, read>;
#else
alias ImageB = texture_storage_2d_array<rgba32float, read>;
#endif
@group(0) @binding(0) var<uniform> p: Params;
#if TRANS_A
@group(0) @binding(1) var a: ImageA; // (batch, ceil(m / 64), FOLD_A, ceil(k / FOLD_A), 64): A: layers, lines, floats of a line, four to a texel
#else
@group(0) @binding(1) var a: ImageA; // (batch, FOLD_A, ceil(m / FOLD_A), k): A: layers, lines, floats of a line, four to a texel; row i is line i / FOLD_A of layer i % FOLD_A
#endif
#if TRANS_B
@group(0) @binding(2) var b: ImageB; // (batch, FOLD_B, ceil(n / FOLD_B), k): B, likewise; column i is line i / FOLD_B of layer i % FOLD_B
#else
@group(0) @binding(2) var b: ImageB; // (batch, ceil(n / 64), FOLD_B, ceil(k / FOLD_B), 64): B, likewise
#endif
#include "subgroup.wgsl"
#include "matmul_out.wgsl"
#if PICTURE_A
#include "picture_product.wgsl"
#endif
#if LOW_RANK
#include "low_rank_lanes.wgsl"
#endif

const EIGHTS: u32 = ROWS / 8u;

#include "image_blocks.wgsl"

@compute @workgroup_size(8)
fn matmul_image(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    // Rows 0 to 3 and 4 to 7 of every eight. Loops over them have a constant count equal to their
    // length: drivers unroll only such loops.
    var upper = array<array<Sums, 4>, EIGHTS>();
    var lower = array<array<Sums, 4>, EIGHTS>();
    let row = wid.x * ROWS;
    let col = wid.y * 64u + lid * 4u;
    let a_base = wid.z * p.a_batch;
    let b_base = wid.z * p.b_batch;
#if PICTURE_A
    let pictures = picture;
    var places = array<Place, EIGHTS>();
    for (var g = 0u; g < EIGHTS; g++) {
        places[g] = place_of(pictures, min(row + 8u * g + (lane & 7u), p.m - 1u));
    }
#endif
#if PICTURE_B
    let pictures = picture;
    let near_columns = columns_at(pictures, col);
    let far_columns = columns_at(pictures, col + 32u);
    var walk = start_of(pictures);
#endif
#if PICTURE_A
    // Taps outside, so that a pixel is found once for all of its channels.
    let taps = p.k / pictures.channels;
    for (var tap = 0u; tap < taps; tap++) {
        var lines = array<u32, EIGHTS>();
        let by = tap_at(pictures, tap);
        for (var g = 0u; g < EIGHTS; g++) {
            lines[g] = pixel_at(pictures, places[g], by);
        }
    for (var channel = 0u; channel < pictures.channels; channel += 4u) {
        let k = tap * pictures.channels + channel;
#else
    for (var k = 0u; k < p.k; k += 4u) {
#endif
#if PICTURE_B
        let four = four_from(pictures, walk);
        let near = block_of(pictures, four, k, near_columns);
        let far = block_of(pictures, four, k, far_columns);
        walk = after(pictures, four[3]);
#else
        let near = block(b_base, k, col);
        let far = block(b_base, k, col + 32u);
#endif
        for (var g = 0u; g < EIGHTS; g++) {
            var s = upper[g];
            var t = lower[g];
            // Every value is broadcast just before its use, to save registers.
#if TRANS_A
            // Lanes 0 to 3 fetch rows 0 to 3 at one k each, the next four lanes the other rows.
            let first = row + 8u * g;
            let x = (first & 63u) / 4u + ((lane >> 2u) & 1u);
            let own = texel_a(x, k + (lane & 3u), a_base + first / 64u * FOLD_A);
            // Written out: Mesa 25 keeps what such a loop indexes in memory, at a seventh of the speed.
            s[0] = four_low(s[0], own.x, near, far);
            s[1] = four_low(s[1], own.y, near, far);
            s[2] = four_low(s[2], own.z, near, far);
            s[3] = four_low(s[3], own.w, near, far);
            t[0] = four_high(t[0], own.x, near, far);
            t[1] = four_high(t[1], own.y, near, far);
            t[2] = four_high(t[2], own.z, near, far);
            t[3] = four_high(t[3], own.w, near, far);
#else
            // Each lane fetches a row at k .. k + 4.
#if PICTURE_A
            let reads = lines[g] != NOWHERE;
            let line = select(0u, lines[g], reads);
            let own = select(vec4<f32>(0.0), texel_a(channel / 4u, line, a_base), reads);
#else
            let own = texel_a(k / 4u, row + 8u * g + (lane & 7u), a_base);
#endif
            s[0] = madd(s[0], subgroupBroadcast(own.x, 0u), near.k0, far.k0);
            s[0] = madd(s[0], subgroupBroadcast(own.y, 0u), near.k1, far.k1);
            s[0] = madd(s[0], subgroupBroadcast(own.z, 0u), near.k2, far.k2);
            s[0] = madd(s[0], subgroupBroadcast(own.w, 0u), near.k3, far.k3);
            s[1] = madd(s[1], subgroupBroadcast(own.x, 1u), near.k0, far.k0);
            s[1] = madd(s[1], subgroupBroadcast(own.y, 1u), near.k1, far.k1);
            s[1] = madd(s[1], subgroupBroadcast(own.z, 1u), near.k2, far.k2);
            s[1] = madd(s[1], subgroupBroadcast(own.w, 1u), near.k3, far.k3);
            s[2] = madd(s[2], subgroupBroadcast(own.x, 2u), near.k0, far.k0);
            s[2] = madd(s[2], subgroupBroadcast(own.y, 2u), near.k1, far.k1);
            s[2] = madd(s[2], subgroupBroadcast(own.z, 2u), near.k2, far.k2);
            s[2] = madd(s[2], subgroupBroadcast(own.w, 2u), near.k3, far.k3);
            s[3] = madd(s[3], subgroupBroadcast(own.x, 3u), near.k0, far.k0);
            s[3] = madd(s[3], subgroupBroadcast(own.y, 3u), near.k1, far.k1);
            s[3] = madd(s[3], subgroupBroadcast(own.z, 3u), near.k2, far.k2);
            s[3] = madd(s[3], subgroupBroadcast(own.w, 3u), near.k3, far.k3);
            t[0] = madd(t[0], subgroupBroadcast(own.x, 4u), near.k0, far.k0);
            t[0] = madd(t[0], subgroupBroadcast(own.y, 4u), near.k1, far.k1);
            t[0] = madd(t[0], subgroupBroadcast(own.z, 4u), near.k2, far.k2);
            t[0] = madd(t[0], subgroupBroadcast(own.w, 4u), near.k3, far.k3);
            t[1] = madd(t[1], subgroupBroadcast(own.x, 5u), near.k0, far.k0);
            t[1] = madd(t[1], subgroupBroadcast(own.y, 5u), near.k1, far.k1);
            t[1] = madd(t[1], subgroupBroadcast(own.z, 5u), near.k2, far.k2);
            t[1] = madd(t[1], subgroupBroadcast(own.w, 5u), near.k3, far.k3);
            t[2] = madd(t[2], subgroupBroadcast(own.x, 6u), near.k0, far.k0);
            t[2] = madd(t[2], subgroupBroadcast(own.y, 6u), near.k1, far.k1);
            t[2] = madd(t[2], subgroupBroadcast(own.z, 6u), near.k2, far.k2);
            t[2] = madd(t[2], subgroupBroadcast(own.w, 6u), near.k3, far.k3);
            t[3] = madd(t[3], subgroupBroadcast(own.x, 7u), near.k0, far.k0);
            t[3] = madd(t[3], subgroupBroadcast(own.y, 7u), near.k1, far.k1);
            t[3] = madd(t[3], subgroupBroadcast(own.z, 7u), near.k2, far.k2);
            t[3] = madd(t[3], subgroupBroadcast(own.w, 7u), near.k3, far.k3);
#endif
            upper[g] = s;
            lower[g] = t;
        }
    }
#if PICTURE_A
    }
#endif
#if LOW_RANK
    for (var r = 0u; r < p.rank; r += 8u) {
        let near = up_eight(r, col);
        let far = up_eight(r, col + 32u);
        for (var g = 0u; g < EIGHTS; g++) {
            for (var i = 0u; i < 4u; i++) {
                let at = row + 8u * g + i;
                let u = low_eight(low_at(at, r + (lane & 7u)));
                upper[g][i].near += update_eight(at, col, u, near);
                upper[g][i].far += update_eight(at, col + 32u, u, far);
            }
            for (var i = 0u; i < 4u; i++) {
                let at = row + 8u * g + 4u + i;
                let u = low_eight(low_at(at, r + (lane & 7u)));
                lower[g][i].near += update_eight(at, col, u, near);
                lower[g][i].far += update_eight(at, col + 32u, u, far);
            }
        }
    }
#endif
    let bias_near = bias_at(col);
    let bias_far = bias_at(col + 32u);
    let sound = soundness(lanes);
    for (var g = 0u; g < EIGHTS; g++) {
        for (var r = 0u; r < 4u; r++) {
            let at = row + 8u * g + r;
            store(wid.z, at, col, sound * upper[g][r].near, bias_near);
            store(wid.z, at, col + 32u, sound * upper[g][r].far, bias_far);
        }
        for (var r = 0u; r < 4u; r++) {
            let at = row + 8u * g + 4u + r;
            store(wid.z, at, col, sound * lower[g][r].near, bias_near);
            store(wid.z, at, col + 32u, sound * lower[g][r].far, bias_far);
        }
    }
}
