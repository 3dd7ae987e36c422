// The epilogue every matrix product shares: C (= or +=) alpha * sum + bias. It names the
// globals p (Params with m, n, ldc, c_batch, alpha, has_bias, accumulate), bias and c. TRANS_C: the
// columns of C are its lines in memory.
#include "real.wgsl"
#if C16
#include "half.wgsl"
alias Out = Half;
#else
alias Out = Real;
#endif

// bias[col .. col + 4], zero beyond column n.
fn bias_at(col: u32) -> vec4<f32> {
    var v = vec4<f32>(0.0);
    if p.has_bias != 0u {
        let last = p.n - 1u;
        v = vec4<f32>(bias[min(col, last)], bias[min(col + 1u, last)],
                      bias[min(col + 2u, last)], bias[min(col + 3u, last)]);
    }
    return v;
}

// Writes columns col .. col + 4 of one row, as far as they exist.
fn store(batch: u32, row: u32, col: u32, sum: vec4<f32>, b: vec4<f32>) {
    if row < p.m && col < p.n {
#if TRANS_C
        let at = batch * p.c_batch + col * p.ldc + row;
        let step = p.ldc;
#else
        let at = batch * p.c_batch + row * p.ldc + col;
        let step = 1u;
#endif
        var v = fma(vec4<f32>(p.alpha), sum, b);
#if VEC4
        if p.accumulate != 0u {
            v += vec4<f32>(c[at / 4u]);
        }
        c[at / 4u] = Out(v);
#else
        let columns = min(p.n - col, 4u);
        for (var j = 0u; j < columns; j++) {
            var old = 0.0;
            if p.accumulate != 0u {
                old = f32(c[at + j * step]);
            }
            c[at + j * step] = Out(old + v[j]);
        }
#endif
    }
}
