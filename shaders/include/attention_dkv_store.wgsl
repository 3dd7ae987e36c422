// Stores the gradients of attention by its keys and values.
#include "attention_grad.wgsl"

@group(0) @binding(7) var<storage, read_write> dk: array<Stored>; // (B, S, k_row): gradient, placed as k; with TOGETHER also dv, placed as v
@group(0) @binding(8) var<storage, read_write> dv: array<Stored>; // (B, S, v_row): gradient, placed as v; any other buffer with TOGETHER

fn add_dk(at: u32, value: Real, onto: bool) {
    var old = Real();
    if onto {
        old = Real(dk[at]);
    }
    dk[at] = Stored(old + value);
}

fn add_dv(at: u32, value: Real, onto: bool) {
    var old = Real();
#if TOGETHER
    if onto {
        old = Real(dk[at]);
    }
    dk[at] = Stored(old + value);
#else
    if onto {
        old = Real(dv[at]);
    }
    dv[at] = Stored(old + value);
#endif
}

fn store(s: u32, head: u32, batch: u32, column: u32, k_sum: vec4<f32>, v_sum: vec4<f32>) {
    if s < p.keys && column < p.width {
        let k_at = k_base(batch, head, s) + column;
        let v_at = v_base(batch, head, s) + column;
        let to_k = adds(p.accumulate, s);
        let to_v = adds(p.accumulate_v, s);
#if VEC4
        add_dk(k_at / 4u, k_sum, to_k);
        add_dv(v_at / 4u, v_sum, to_v);
#else
        for (var j = 0u; j < min(p.width - column, 4u); j++) {
            add_dk(k_at + j, k_sum[j], to_k);
            add_dv(v_at + j, v_sum[j], to_v);
        }
#endif
    }
}
