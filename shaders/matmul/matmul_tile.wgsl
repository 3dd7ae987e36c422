// Matrix product by register tiles over workgroup memory.
//
//   C (= or +=) alpha * A B + bias, with LOW_RANK (alpha 1) + scale * U V, or mask * U V
//
// Source: definition; the tiling is that of Volkov and Demmel 2008, section 4.
// Dispatch: (ceil(m / BM), ceil(n / BN), batch) workgroups of THREADS = BM * BN / 64; a workgroup makes
// BM rows by BN columns, and one invocation 8 x 8 values, in two halves of four rows and four columns
// each, which keeps the reads of workgroup memory free of bank conflicts.
// Passes: 1. The next slice of 8 k is fetched into registers while this one is multiplied.
// Strides say how A and B lie, which covers every transposition; the invocations walk along
// whichever axis is contiguous.
// PICTURE_A: row i of A is the taps of a window at position i of pictures, k = (tap, channel), and a holds pixels:
// a convolution, or its gradient by the source. PICTURE_B: so is row k of B, n = (tap, channel), and b_batch counts
// positions: the gradient of the weights. Neither is ever stored.
// Numerics: f32, one running sum per element in the order of k.
// Limits: 4 storage buffers, LOW_RANK: 6, MASKED: 7; (BM + BN + 8) * 32 bytes of workgroup memory.
#const BM: u32 // rows of a tile
#const BN: u32 // columns of a tile
#const THREADS: u32 // BM BN / 64

#include "matmul_strided.wgsl"
#if PICTURE_A
#include "picture_product.wgsl"
#endif
#if PICTURE_B
#include "picture_product.wgsl"
#endif
#if LOW_RANK
#include "low_rank_block.wgsl"
#endif

const BK: u32 = 8u;
// Four rows of A (columns of B) at one k are one vec4. A line of one k is padded by one vec4,
// else the invocations that write along k would all hit one bank.
const A_QUADS: u32 = BM / 4u;
const B_QUADS: u32 = BN / 4u;
const A_LINE: u32 = A_QUADS + 1u;
const B_LINE: u32 = B_QUADS + 1u;
const A_LOADS: u32 = A_QUADS * BK / THREADS;
const B_LOADS: u32 = B_QUADS * BK / THREADS;

var<workgroup> a_tile: array<vec4<f32>, BK * A_LINE>;
var<workgroup> b_tile: array<vec4<f32>, BK * B_LINE>;

// (quad, k) of the i-th vec4 of a tile: neighbours differ along the contiguous axis.
fn place(i: u32, quads: u32, along_k: bool) -> vec2<u32> {
    return select(vec2<u32>(i % quads, i / quads), vec2<u32>(i / BK, i % BK), along_k);
}

#if PICTURE_A
fn pixel_of_a(g: Picture, row: u32, tap: u32, channel: u32) -> f32 {
    let q = pixel(g, place_of(g, row), tap);
    return select(0.0, f32(a[select(0u, q, q != NOWHERE) * g.channels + channel]), q != NOWHERE);
}

fn fetch_a(base: u32, row: u32, k: u32) -> vec4<f32> {
    let g = picture;
    let last = p.m - 1u;
    let at = min(k, p.k - 1u);
    let tap = at / g.channels;
    let channel = at - tap * g.channels;
    let v = vec4(pixel_of_a(g, min(row, last), tap, channel), pixel_of_a(g, min(row + 1u, last), tap, channel),
                 pixel_of_a(g, min(row + 2u, last), tap, channel), pixel_of_a(g, min(row + 3u, last), tap, channel));
    return select(vec4<f32>(0.0), v, k < p.k);
}
#else
fn fetch_a(base: u32, row: u32, k: u32) -> vec4<f32> {
    let last = p.m - 1u;
    let at = base + min(k, p.k - 1u) * p.a_k;
    let v = vec4(a[at + min(row, last) * p.a_row], a[at + min(row + 1u, last) * p.a_row],
                 a[at + min(row + 2u, last) * p.a_row], a[at + min(row + 3u, last) * p.a_row]);
    return select(vec4<f32>(0.0), vec4<f32>(v), k < p.k);
}
#endif

#if PICTURE_B
fn pixel_of_b(g: Picture, at: Place, col: u32) -> f32 {
    let column = min(col, p.n - 1u);
    let tap = column / g.channels;
    let q = pixel(g, at, tap);
    return select(0.0, f32(b[select(0u, q, q != NOWHERE) * g.channels + column - tap * g.channels]), q != NOWHERE);
}

fn fetch_b(base: u32, col: u32, k: u32) -> vec4<f32> {
    let g = picture;
    let at = place_of(g, base + min(k, p.k - 1u));
    let v = vec4(pixel_of_b(g, at, col), pixel_of_b(g, at, col + 1u), pixel_of_b(g, at, col + 2u),
                 pixel_of_b(g, at, col + 3u));
    return select(vec4<f32>(0.0), v, k < p.k);
}
#else
fn fetch_b(base: u32, col: u32, k: u32) -> vec4<f32> {
    let last = p.n - 1u;
    let at = base + min(k, p.k - 1u) * p.b_k;
    let v = vec4(b[at + min(col, last) * p.b_col], b[at + min(col + 1u, last) * p.b_col],
                 b[at + min(col + 2u, last) * p.b_col], b[at + min(col + 3u, last) * p.b_col]);
    return select(vec4<f32>(0.0), vec4<f32>(v), k < p.k);
}
#endif

@compute @workgroup_size(THREADS)
fn matmul_tile(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row0 = wid.x * BM;
    let col0 = wid.y * BN;
    let a0 = wid.z * p.a_batch;
    let b0 = wid.z * p.b_batch;
    let a_along_k = p.a_k == 1u;
    let b_along_k = p.b_k == 1u;
    let tr = lid / (BN / 8u); // this invocation's rows: row0 + 4 tr + (0..4), and BM / 2 further
    let tc = lid % (BN / 8u); // its columns likewise

    var lo = array<vec4<f32>, 8>(); // rows by the left four columns
    var hi = array<vec4<f32>, 8>(); // rows by the right four columns
    var next_a = array<vec4<f32>, A_LOADS>();
    var next_b = array<vec4<f32>, B_LOADS>();
    for (var l = 0u; l < A_LOADS; l++) {
        let at = place(lid + l * THREADS, A_QUADS, a_along_k);
        next_a[l] = fetch_a(a0, row0 + 4u * at.x, at.y);
    }
    for (var l = 0u; l < B_LOADS; l++) {
        let at = place(lid + l * THREADS, B_QUADS, b_along_k);
        next_b[l] = fetch_b(b0, col0 + 4u * at.x, at.y);
    }
    for (var k0 = 0u; k0 < p.k; k0 += BK) {
        workgroupBarrier();
        for (var l = 0u; l < A_LOADS; l++) {
            let at = place(lid + l * THREADS, A_QUADS, a_along_k);
            a_tile[at.y * A_LINE + at.x] = next_a[l];
        }
        for (var l = 0u; l < B_LOADS; l++) {
            let at = place(lid + l * THREADS, B_QUADS, b_along_k);
            b_tile[at.y * B_LINE + at.x] = next_b[l];
        }
        workgroupBarrier();
        if k0 + BK < p.k {
            for (var l = 0u; l < A_LOADS; l++) {
                let at = place(lid + l * THREADS, A_QUADS, a_along_k);
                next_a[l] = fetch_a(a0, row0 + 4u * at.x, k0 + BK + at.y);
            }
            for (var l = 0u; l < B_LOADS; l++) {
                let at = place(lid + l * THREADS, B_QUADS, b_along_k);
                next_b[l] = fetch_b(b0, col0 + 4u * at.x, k0 + BK + at.y);
            }
        }
        for (var k = 0u; k < BK; k++) {
            let x0 = a_tile[k * A_LINE + tr];
            let x1 = a_tile[k * A_LINE + tr + A_QUADS / 2u];
            let y0 = b_tile[k * B_LINE + tc];
            let y1 = b_tile[k * B_LINE + tc + B_QUADS / 2u];
            let x = array<f32, 8>(x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w);
            for (var r = 0u; r < 8u; r++) {
                lo[r] = fma(vec4<f32>(x[r]), y0, lo[r]);
                hi[r] = fma(vec4<f32>(x[r]), y1, hi[r]);
            }
        }
    }
    let c0 = col0 + 4u * tc;
    let c1 = c0 + BN / 2u;
#if LOW_RANK
    for (var r = 0u; r < p.rank; r += 4u) {
        let near = up_block(r, c0);
        let far = up_block(r, c1);
        for (var i = 0u; i < 8u; i++) {
            let row = row0 + 4u * tr + (i & 3u) + (i / 4u) * (BM / 2u);
            let u = low_block(row, r);
            lo[i] += update_block(row, c0, u, near);
            hi[i] += update_block(row, c1, u, far);
        }
    }
#endif
    let shift0 = bias_at(c0);
    let shift1 = bias_at(c1);
    for (var r = 0u; r < 8u; r++) {
        let row = row0 + 4u * tr + (r & 3u) + (r / 4u) * (BM / 2u);
        store(wid.z, row, c0, lo[r], shift0);
        store(wid.z, row, c1, hi[r], shift1);
    }
}
