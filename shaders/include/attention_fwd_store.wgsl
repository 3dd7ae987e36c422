// Stores the result of attention.
#include "attention.wgsl"

@group(0) @binding(5) var<storage, read_write> o: array<Stored>; // (B, T, NH, D): output
#if LSE
@group(0) @binding(6) var<storage, read_write> stats: array<f32>; // (B, NH, T, 2): base-2 logarithm of each query's sum, the first of two
#endif

fn store(t: u32, head: u32, batch: u32, column: u32, value: vec4<f32>) {
    if t < p.queries && column < p.width {
        let at = ((batch * p.queries + t) * p.heads + head) * p.width + column;
#if VEC4
        o[at / 4u] = Stored(value);
#else
        for (var j = 0u; j < min(p.width - column, 4u); j++) {
            o[at + j] = Stored(value[j]);
        }
#endif
    }
}
