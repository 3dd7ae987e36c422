// Matrix product on matrix units: cooperative matrices of f16, sums in f32.
//
//   C (= or +=) alpha * A B + bias
//
// Source: definition; the tiling is that of Volkov and Demmel 2008, section 4, with a matrix of
// MAT x MAT in the place of a number.
// Dispatch: (ceil(m / BM), ceil(n / BN), batch) workgroups of four subgroups; BM = BN = 8 MAT,
// and a subgroup makes a quarter of the tile, 4 x 4 matrices.
// Passes: 1. The next slice of 16 k is fetched into registers while this one is multiplied.
// In workgroup memory each operand keeps the layout of its buffer (TRANS_A, TRANS_B) and is
// transposed as its matrices are loaded.
// Numerics: f16 operands, f32 sums; the order of the sums within a matrix is up to the driver.
// Limits: cooperative matrices of f16 with f32 sums; subgroups of SUBGROUP invocations, of which a
// workgroup's are consecutive; 4 storage buffers; 16 KiB of workgroup memory.
#const SUBGROUP: u32 // invocations of a subgroup
#const THREADS: u32 // 4 SUBGROUP

#include "matmul_params.wgsl"

#if ALIGNED
alias Halves = vec4<f16>;
#else
alias Halves = f16;
#endif
@group(0) @binding(1) var<storage, read> a: array<Halves>; // (batch, m, k) by strides: left operand
@group(0) @binding(2) var<storage, read> b: array<Halves>; // (batch, k, n) by strides: right operand
#include "matmul_out.wgsl"

#if MAT16
const MAT: u32 = 16u;
alias Lefts = coop_mat16x16<f16, A>;
alias Rights = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
#else
const MAT: u32 = 8u;
alias Lefts = coop_mat8x8<f16, A>;
alias Rights = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;
#endif

const BM: u32 = 8u * MAT;
const BN: u32 = 8u * MAT;
const BK: u32 = 16u;
// Lines of a tile and how long they are; padded, so that the lines begin in different banks.
#if TRANS_A
const A_WIDTH: u32 = BM;
#else
const A_WIDTH: u32 = BK;
#endif
#if TRANS_B
const B_WIDTH: u32 = BK;
#else
const B_WIDTH: u32 = BN;
#endif
const A_LINE: u32 = A_WIDTH + 8u;
const B_LINE: u32 = B_WIDTH + 8u;
// Quads of a tile that an invocation fetches.
const A_LOADS: u32 = BM * BK / 4u / THREADS;
const B_LOADS: u32 = BN * BK / 4u / THREADS;

var<workgroup> a_tile: array<f16, BM * BK / A_WIDTH * A_LINE>;
var<workgroup> b_tile: array<f16, BN * BK / B_WIDTH * B_LINE>;
// One matrix for each subgroup, on its way to C.
var<workgroup> result: array<f32, 4u * MAT * MAT>;

// Four numbers of a line of A, zero beyond its end and beyond the last line.
fn a_quad(start: u32, line: u32, column: u32, lines: u32, columns: u32, stride: u32) -> vec4<f16> {
    let first = start + min(line, lines - 1u) * stride;
#if ALIGNED
    let v = a[(first + min(column, columns - 4u)) / 4u];
#else
    let at = first + min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns - 1u));
    let v = vec4<f16>(a[at.x], a[at.y], a[at.z], a[at.w]);
#endif
    let there = vec4<u32>(select(0u, columns, line < lines));
    return select(vec4<f16>(0.0h), v, column + vec4<u32>(0u, 1u, 2u, 3u) < there);
}

// The same of B.
fn b_quad(start: u32, line: u32, column: u32, lines: u32, columns: u32, stride: u32) -> vec4<f16> {
    let first = start + min(line, lines - 1u) * stride;
#if ALIGNED
    let v = b[(first + min(column, columns - 4u)) / 4u];
#else
    let at = first + min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(columns - 1u));
    let v = vec4<f16>(b[at.x], b[at.y], b[at.z], b[at.w]);
#endif
    let there = vec4<u32>(select(0u, columns, line < lines));
    return select(vec4<f16>(0.0h), v, column + vec4<u32>(0u, 1u, 2u, 3u) < there);
}

// The i-th quad of A's tile of the slice at k0, whose rows begin at row0.
fn fetch_a(i: u32, start: u32, row0: u32, k0: u32) -> vec4<f16> {
    let line = i / (A_WIDTH / 4u);
    let column = i % (A_WIDTH / 4u) * 4u;
#if TRANS_A
    return a_quad(start, k0 + line, row0 + column, p.k, p.m, p.a_k);
#else
    return a_quad(start, row0 + line, k0 + column, p.m, p.k, p.a_row);
#endif
}

// The same of B, whose columns begin at col0.
fn fetch_b(i: u32, start: u32, col0: u32, k0: u32) -> vec4<f16> {
    let line = i / (B_WIDTH / 4u);
    let column = i % (B_WIDTH / 4u) * 4u;
#if TRANS_B
    return b_quad(start, col0 + line, k0 + column, p.n, p.k, p.b_col);
#else
    return b_quad(start, k0 + line, col0 + column, p.k, p.n, p.b_k);
#endif
}

@compute @workgroup_size(THREADS)
fn matmul_coop(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let row0 = wid.x * BM;
    let col0 = wid.y * BN;
    let a0 = wid.z * p.a_batch;
    let b0 = wid.z * p.b_batch;
    let subgroup = lid / SUBGROUP;
    // This subgroup's corner of the tile.
    let top = subgroup / 2u * (4u * MAT);
    let left = subgroup % 2u * (4u * MAT);

    var sums = array<Sum, 16>();
    var next_a = array<vec4<f16>, A_LOADS>();
    var next_b = array<vec4<f16>, B_LOADS>();
    for (var l = 0u; l < A_LOADS; l++) {
        next_a[l] = fetch_a(lid + l * THREADS, a0, row0, 0u);
    }
    for (var l = 0u; l < B_LOADS; l++) {
        next_b[l] = fetch_b(lid + l * THREADS, b0, col0, 0u);
    }
    for (var k0 = 0u; k0 < p.k; k0 += BK) {
        workgroupBarrier();
        for (var l = 0u; l < A_LOADS; l++) {
            let i = lid + l * THREADS;
            let at = i / (A_WIDTH / 4u) * A_LINE + i % (A_WIDTH / 4u) * 4u;
            for (var j = 0u; j < 4u; j++) {
                a_tile[at + j] = next_a[l][j];
            }
        }
        for (var l = 0u; l < B_LOADS; l++) {
            let i = lid + l * THREADS;
            let at = i / (B_WIDTH / 4u) * B_LINE + i % (B_WIDTH / 4u) * 4u;
            for (var j = 0u; j < 4u; j++) {
                b_tile[at + j] = next_b[l][j];
            }
        }
        workgroupBarrier();
        if k0 + BK < p.k {
            for (var l = 0u; l < A_LOADS; l++) {
                next_a[l] = fetch_a(lid + l * THREADS, a0, row0, k0 + BK);
            }
            for (var l = 0u; l < B_LOADS; l++) {
                next_b[l] = fetch_b(lid + l * THREADS, b0, col0, k0 + BK);
            }
        }
        for (var k = 0u; k < BK; k += MAT) {
            var y = array<Rights, 4>();
            for (var j = 0u; j < 4u; j++) {
                let column = left + j * MAT;
#if TRANS_B
                y[j] = coopLoad<Rights>(&b_tile[column * B_LINE + k], B_LINE);
#else
                y[j] = coopLoadT<Rights>(&b_tile[k * B_LINE + column], B_LINE);
#endif
            }
            for (var i = 0u; i < 4u; i++) {
                let row = top + i * MAT;
#if TRANS_A
                let x = coopLoad<Lefts>(&a_tile[k * A_LINE + row], A_LINE);
#else
                let x = coopLoadT<Lefts>(&a_tile[row * A_LINE + k], A_LINE);
#endif
                for (var j = 0u; j < 4u; j++) {
                    sums[4u * i + j] = coopMultiplyAdd(x, y[j], sums[4u * i + j]);
                }
            }
        }
    }
    // Through workgroup memory, since which invocation holds which number is up to the driver.
    let own = subgroup * (MAT * MAT);
    for (var i = 0u; i < 16u; i++) {
        let sum = sums[i];
        workgroupBarrier();
        coopStoreT(sum, &result[own], MAT);
        workgroupBarrier();
        for (var q = lid % SUBGROUP; q < MAT * MAT / 4u; q += SUBGROUP) {
            let at = own + 4u * q;
            let row = row0 + top + i / 4u * MAT + q / (MAT / 4u);
            let column = col0 + left + i % 4u * MAT + q % (MAT / 4u) * 4u;
            let v = vec4<f32>(result[at], result[at + 1u], result[at + 2u], result[at + 3u]);
            store(wid.z, row, column, v, bias_at(column));
        }
    }
}
