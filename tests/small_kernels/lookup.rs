//! Dropout and embeddings: what draws from Philox.

use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;
use melos::kernels::philox::{self, philox4x32};

#[test]
fn dropout_draws_philox_and_backward_the_same() {
    let state = StepState {
        draw: 5,
        seed_lo: 0x1234_5678,
        seed_hi: 0x9abc_def0,
        ..Default::default()
    };
    let word = |cell: u32, layer: u32| {
        philox4x32([cell / 4, layer, 5, 0], [0x1234_5678, 0x9abc_def0])[cell as usize % 4]
    };
    for n in [1, 65, 4099, 4100] {
        for p in [0.0f32, 0.3, 0.5] {
            let dev = Dev::new();
            let (threshold, scale) = (philox::drop_threshold(p), 1.0 / (1.0 - p));
            let factor = |e: usize| {
                if word(e as u32, 3) < threshold {
                    0.0
                } else {
                    f64::from(scale)
                }
            };
            let variant = Variant::new().with("VEC4", wide(n).0);
            let x = noise(n, 10, 1.0);
            let y = dev.out(n);
            let params = [n as u32, 3, threshold, bits(scale)];
            let groups = Groups::cover(n, 1024);
            let state = dev.state(state);
            dev.run(
                "dropout_fwd",
                &variant,
                params,
                &[&state, &dev.f32(&x), &y.tensor],
                groups,
            );
            let want: Vec<_> = (0..n)
                .map(|e| exactly(f64::from(x[e]) * factor(e)))
                .collect();
            dev.check(&format!("dropout_fwd n {n} p {p}"), &y, &want);
            for accumulate in [0, 1] {
                let dx = dev.out_for(n, accumulate);
                let params = [n as u32, 3, threshold, accumulate, bits(scale)];
                dev.run(
                    "dropout_bwd",
                    &variant,
                    params,
                    &[&state, &dev.f32(&x), &dx.tensor],
                    groups,
                );
                let g = |e: usize| f64::from(x[e]) * factor(e) + before(accumulate);
                dev.check(
                    "dropout_bwd",
                    &dx,
                    &(0..n).map(|e| near(g(e), 3.0)).collect::<Vec<_>>(),
                );
            }
            if n == 4099 {
                let dropped = (0..n).filter(|&e| factor(e) == 0.0).count() as f32 / n as f32;
                assert!((dropped - p).abs() < 0.03, "{dropped} of {p} dropped");
            }
        }
    }
}

#[test]
fn embedding_gathers_and_scatters() {
    for width in [1, 65, 132] {
        embedding(width);
    }
}

fn embedding(width: usize) {
    let (vocab, none) = (37u32, u32::MAX);
    let (vec4, lanes) = wide(width);
    let columns = (width / lanes) as u32;
    let ids: Vec<u32> = (0..123u32)
        .map(|i| if i % 11 == 5 { none } else { i * i * 7 % 31 })
        .collect();
    let n = ids.len();
    let table = noise(vocab as usize * width, 11, 1.0);
    let dy = noise(n * width, 12, 1.0);
    let mut order: Vec<u32> = (0..n as u32).filter(|&k| ids[k as usize] < vocab).collect();
    order.sort_by_key(|&k| ids[k as usize]);
    let (mut rows, mut starts) = (vec![none; n], vec![order.len() as u32; n + 1]);
    for (u, run) in order
        .chunk_by(|a, b| ids[*a as usize] == ids[*b as usize])
        .enumerate()
    {
        rows[u] = ids[run[0] as usize];
        starts[u + 1] = run.len() as u32 + if u == 0 { 0 } else { starts[u] };
        starts[0] = 0;
    }
    let dev = Dev::new();
    let variant = Variant::new().with("VEC4", vec4);
    let y = dev.out(n * width);
    let params = [n as u32, columns, vocab];
    let (ti, tt) = (dev.u32(&ids), dev.f32(&table));
    let bound = [&ti, &tt, &y.tensor];
    dev.run(
        "embedding_fwd",
        &variant,
        params,
        &bound,
        Groups::Linear(n as u64),
    );
    let value = |i: usize| match ids[i / width] {
        id if id < vocab => f64::from(table[id as usize * width + i % width]),
        _ => 0.0,
    };
    dev.check(
        "embedding_fwd",
        &y,
        &(0..n * width)
            .map(|i| exactly(value(i)))
            .collect::<Vec<_>>(),
    );

    for accumulate in [0, 1] {
        let d = dev.out_for(vocab as usize * width, 1);
        let params = [n as u32, columns, vocab, accumulate];
        let (tr, ts, to, tdy) = (
            dev.u32(&rows),
            dev.u32(&starts),
            dev.u32(&order),
            dev.f32(&dy),
        );
        let bound = [&tr, &ts, &to, &tdy, &d.tensor];
        dev.run(
            "embedding_bwd",
            &variant,
            params,
            &bound,
            Groups::Linear(n as u64),
        );
        let mut want = vec![near(0.0, 1.0); vocab as usize * width];
        for (k, id) in ids.iter().enumerate().filter(|(_, id)| **id < vocab) {
            for c in 0..width {
                let cell = &mut want[*id as usize * width + c];
                let g = f64::from(dy[k * width + c]);
                *cell = near(cell.value + g, cell.scale + g.abs());
            }
        }
        for (i, w) in want.iter_mut().enumerate() {
            let touched = ids.contains(&((i / width) as u32));
            let old = if touched {
                before(accumulate)
            } else {
                before(1)
            };
            *w = near(w.value + old, w.scale);
        }
        dev.check("embedding_bwd", &d, &want);
    }
}
