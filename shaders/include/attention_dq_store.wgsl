// Stores the gradient of attention by its queries.
#include "attention_grad.wgsl"

@group(0) @binding(7) var<storage, read_write> dq: array<Stored>; // (B, T, q_row): gradient, placed as q

fn store(t: u32, head: u32, batch: u32, column: u32, value: vec4<f32>) {
    if t < p.queries && column < p.width {
        let at = q_base(batch, head, t) + column;
#if VEC4
        var old = vec4<f32>(0.0);
        if adds(p.accumulate, t) {
            old = Real(dq[at / 4u]);
        }
        dq[at / 4u] = Stored(old + value);
#else
        for (var j = 0u; j < min(p.width - column, 4u); j++) {
            var old = 0.0;
            if adds(p.accumulate, t) {
                old = Real(dq[at + j]);
            }
            dq[at + j] = Stored(old + value[j]);
        }
#endif
    }
}
