//! The element-wise, reduction, dropout, embedding and loss kernels on the device, against
//! literal f64 forms: odd sizes, NaN-filled outputs, guard words, accumulation, same bits twice.
#![cfg(feature = "gpu")]

mod common;
#[path = "small_kernels/mod.rs"]
mod small;

use melos::device::Groups;
use melos::kernels::philox::{self, philox4x32};
use melos::kernels::{Value, Variant};
use small::*;

const SIZES: [usize; 6] = [1, 3, 63, 65, 123, 257];

#[test]
fn unary_forward_and_backward() {
    let gelu_tanh = |x: f64| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + u.tanh())
    };
    type F<'a> = &'a dyn Fn(f64) -> f64;
    let table: [(F, bool); 10] = [
        (&|x| x.max(0.0), true),
        (&f64::tanh, true),
        (&|x| 1.0 / (1.0 + (-x).exp()), true),
        (&gelu_tanh, false),
        (&|x| x * normal_cdf(x), false),
        (&f64::exp, true),
        (&f64::ln, false),
        (&f64::sqrt, true),
        (&|x| x * x, false),
        (&|x| 1.5 * x - 0.25, false),
    ];
    for (op, (f, from_y)) in table.iter().enumerate() {
        let positive = op == 6 || op == 7;
        for n in SIZES {
            let dev = Dev::new();
            let mut x = noise(n, op as u32, 3.0);
            if positive {
                x.iter_mut().for_each(|v| *v = v.abs() + 0.1);
            } else if n > 20 && op < 5 {
                // Peaked: where built-ins overflow.
                x[..6].copy_from_slice(&[90.0, -90.0, 2e4, -2e4, 1e-5, 0.0]);
            }
            let variant = Variant::new().with("OP", op as u32);
            let y = dev.out(n);
            let params = [n as u32, bits(1.5), bits(-0.25)];
            let groups = Groups::cover(n, 256);
            dev.run(
                "unary_fwd",
                &variant,
                params,
                &[&dev.f32(&x), &y.tensor],
                groups,
            );
            // The erf form's own error is up to 7.5e-8 |x|.
            let slack = if op == 4 { 0.1 } else { 0.0 };
            let want: Vec<_> = x
                .iter()
                .map(|&v| (f64::from(v), f(v.into())))
                .map(|(v, fv)| near(fv, fv.abs() + slack * v.abs() + 1e-3))
                .collect();
            dev.check(&format!("unary_fwd OP {op} n {n}"), &y, &want);

            let dy = noise(n, 99, 1.0);
            let saved = if *from_y { dev.read(&y) } else { x.clone() };
            for accumulate in [0, 1] {
                let dx = dev.out_for(n, accumulate);
                let params = [n as u32, accumulate, bits(1.5)];
                let bound = [&dev.f32(&saved), &dev.f32(&dy), &dx.tensor];
                dev.run("unary_bwd", &variant, params, &bound, groups);
                let want: Vec<_> = (0..n)
                    .map(|i| {
                        let (v, h) = (f64::from(x[i]), 1e-6 * f64::from(x[i]).abs().max(1.0));
                        let slope = (f(v + h) - f(v - h)) / (2.0 * h);
                        let slope = if op == 0 && v == 0.0 { 0.0 } else { slope };
                        let g = f64::from(dy[i]) * slope;
                        // The reference is a central difference: about 1e-9 of it is noise.
                        near(g + before(accumulate), g.abs() + 1.0)
                    })
                    .collect();
                dev.check(
                    &format!("unary_bwd OP {op} n {n} += {accumulate}"),
                    &dx,
                    &want,
                );
            }
        }
    }
}

#[test]
fn binary_with_broadcasting_forward_and_backward() {
    // (shape of a, shape of b)
    let cases = [
        ([1, 1, 1, 65], [1, 1, 1, 65]),
        ([2, 3, 5, 7], [2, 3, 5, 7]),
        ([2, 3, 5, 7], [1, 3, 1, 7]),
        ([1, 1, 33, 1], [1, 1, 33, 13]),
        ([1, 1, 1, 1], [3, 1, 40, 5]),
        ([1, 9, 1, 4], [1, 1, 6, 1]),
    ];
    for (sa, sb) in cases {
        let shape: [u32; 4] = std::array::from_fn(|i| sa[i].max(sb[i]));
        let n = count(shape);
        let a = noise(count(sa), 1, 2.0);
        let b: Vec<f32> = noise(count(sb), 2, 1.0)
            .iter()
            .map(|v| v.abs() + 0.5)
            .collect();
        let (ta, tb) = (broadcast_strides(sa), broadcast_strides(sb));
        for op in 0..4u32 {
            let dev = Dev::new();
            let f = |u: f64, v: f64| match op {
                0 => u + v,
                1 => u - v,
                2 => u * v,
                _ => u / v,
            };
            let same = sa == sb;
            let variant = Variant::new().with("OP", op).with("SAME", same);
            let y = dev.out(n);
            let mut params = [0u32; 16];
            params[..4].copy_from_slice(&shape);
            params[4..8].copy_from_slice(&ta);
            params[8..12].copy_from_slice(&tb);
            params[12] = n as u32;
            let bound = [&dev.f32(&a), &dev.f32(&b), &y.tensor];
            dev.run(
                "binary_fwd",
                &variant,
                params,
                &bound,
                Groups::cover(n, 256),
            );
            let at = |i: usize| {
                (
                    f64::from(a[dot(coords(i, shape), ta)]),
                    f64::from(b[dot(coords(i, shape), tb)]),
                )
            };
            let want: Vec<_> = (0..n).map(|i| exactly(f(at(i).0, at(i).1))).collect();
            dev.check(&format!("binary_fwd {sa:?} {op} {sb:?}"), &y, &want);

            let dy = noise(n, 3, 1.0);
            for wrt in 0..2u32 {
                let own = if wrt == 0 { sa } else { sb };
                let to = broadcast_strides(own);
                let mut want = vec![near(0.0, 1.0); count(own)];
                for i in 0..n {
                    let (u, v) = at(i);
                    let slope = match (op, wrt) {
                        (0, _) | (1, 0) => 1.0,
                        (1, _) => -1.0,
                        (2, 0) => v,
                        (2, _) => u,
                        (_, 0) => 1.0 / v,
                        _ => -u / (v * v),
                    };
                    let cell = &mut want[dot(coords(i, shape), to)];
                    let g = f64::from(dy[i]) * slope;
                    *cell = near(cell.value + g, cell.scale + g.abs());
                }
                for (lanes, accumulate) in [(1u32, 0u32), (64, 1), (8, 0)] {
                    let dx = dev.out_for(count(own), accumulate);
                    let repeat: [u32; 4] = std::array::from_fn(|i| shape[i] / own[i]);
                    let mut params = [0u32; 24];
                    for (slot, v) in [own, repeat, strides(shape), ta, tb].iter().enumerate() {
                        params[slot * 4..slot * 4 + 4].copy_from_slice(v);
                    }
                    let len = count(own) as u32;
                    params[20..23].copy_from_slice(&[len, count(repeat) as u32, accumulate]);
                    let variant = Variant::new()
                        .with("OP", op)
                        .with("WRT", wrt)
                        .with("LANES", lanes);
                    let bound = [&dev.f32(&dy), &dev.f32(&a), &dev.f32(&b), &dx.tensor];
                    let groups = Groups::cover(count(own) * lanes as usize, 64);
                    dev.run("binary_bwd", &variant, params, &bound, groups);
                    let want: Vec<_> = want
                        .iter()
                        .map(|w| near(w.value + before(accumulate), w.scale))
                        .collect();
                    let what = format!("binary_bwd {sa:?} {op} {sb:?} wrt {wrt} lanes {lanes}");
                    dev.check(&what, &dx, &want);
                }
            }
        }
    }
}

#[test]
fn axpy_and_strided_copies() {
    for n in SIZES {
        let dev = Dev::new();
        let x = noise(n, 4, 1.0);
        for (scaled, accumulate) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            let y = dev.out_for(n, accumulate);
            let (source, scale) = (dev.f32(&x), dev.f32(&[-2.5]));
            let bound = [&source, &scale, &y.tensor];
            let bound = if scaled {
                &bound[..]
            } else {
                &[&source, &y.tensor]
            };
            let variant = Variant::new().with("SCALED", scaled);
            let params = [n as u32, accumulate, bits(0.75)];
            dev.run("axpy", &variant, params, bound, Groups::cover(n, 256));
            let alpha = if scaled { -2.5 * 0.75 } else { 0.75 };
            let want: Vec<_> = x
                .iter()
                .map(|&v| near(alpha * f64::from(v) + before(accumulate), 3.0))
                .collect();
            dev.check("axpy", &y, &want);
        }
    }
    // (T, B, C) -> (B, C, T), a slice of the second axis into the middle of an output.
    let (t, b, c) = (5u32, 7u32, 3u32);
    let dev = Dev::new();
    let x = noise((t * b * c) as usize, 5, 1.0);
    let n = t * 4 * c;
    for accumulate in [0, 1] {
        let y = dev.out_for(n as usize + 10, 1);
        let mut params = [0u32; 16];
        params[..4].copy_from_slice(&[1, t, 4, c]);
        params[4..8].copy_from_slice(&[0, b * c, c, 1]);
        params[8..12].copy_from_slice(&[0, 1, c * t, t]);
        params[12..].copy_from_slice(&[n, 2 * c, 10, accumulate]);
        let bound = [&dev.f32(&x), &y.tensor];
        dev.run(
            "copy_strided",
            &Variant::new(),
            params,
            &bound,
            Groups::cover(n as usize, 256),
        );
        let mut want = vec![exactly(before(1)); n as usize + 10];
        for (ti, bi, ci) in
            (0..t).flat_map(|i| (0..4).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
        {
            let v = f64::from(x[(ti * b * c + (bi + 2) * c + ci) as usize]);
            want[(10 + bi * c * t + ci * t + ti) as usize] = near(v + before(accumulate), 2.0);
        }
        dev.check("copy_strided", &y, &want);
    }
    let ids: Vec<u32> = (0..65)
        .map(|i| i * 3)
        .chain([u32::MAX, 0x7fc0_0001])
        .collect();
    let y = dev.u32(&vec![7; 67]);
    let mut params = [0u32; 16];
    params[..4].copy_from_slice(&[1, 1, 1, 67]);
    params[7] = 1;
    params[11] = 1;
    params[12] = 67;
    let variant = Variant::new().with("U32", true);
    dev.run(
        "copy_strided",
        &variant,
        params,
        &[&dev.u32(&ids), &y],
        Groups::Linear(1),
    );
    assert_eq!(y.to_vec::<u32>().unwrap(), ids);
}

#[test]
fn row_reductions() {
    for (rows, cols) in [(1, 1), (3, 63), (65, 65), (7, 257), (123, 3)] {
        let dev = Dev::new();
        let x = noise(rows * cols, 6, 2.0);
        let row = |r: usize| &x[r * cols..(r + 1) * cols];
        let scale = 1.0 / cols as f32;
        let y = dev.out(rows);
        let params = [rows as u32, cols as u32, bits(scale)];
        let groups = Groups::Linear(rows as u64);
        dev.run(
            "reduce_rows_fwd",
            &Variant::new(),
            params,
            &[&dev.f32(&x), &y.tensor],
            groups,
        );
        let mean = |r| row(r).iter().map(|&v| f64::from(v)).sum::<f64>() / cols as f64;
        let want: Vec<_> = (0..rows).map(|r| near(mean(r), 2.0)).collect();
        dev.check("mean", &y, &want);

        let max = Variant::new().with("MAX", true);
        let (y, arg) = (dev.out(rows), dev.u32(&vec![77; rows]));
        let mut tied = x.clone();
        tied.iter_mut().for_each(|v| *v = v.round()); // many ties: the first must win
        let bound = [&dev.f32(&tied), &y.tensor, &arg];
        dev.run("reduce_rows_fwd", &max, params, &bound, groups);
        let row = |r: usize| &tied[r * cols..(r + 1) * cols];
        let first = |r: usize| {
            let top = row(r).iter().copied().fold(f32::MIN, f32::max);
            row(r).iter().position(|&v| v == top).unwrap()
        };
        let want: Vec<_> = (0..rows)
            .map(|r| exactly(row(r)[first(r)].into()))
            .collect();
        dev.check("max", &y, &want);
        let args = arg.to_vec::<u32>().unwrap();
        assert!(
            (0..rows).all(|r| args[r] == first(r) as u32),
            "arg of {rows} x {cols}"
        );

        let dy = noise(rows, 7, 1.0);
        for accumulate in [0, 1] {
            let params = [rows as u32, cols as u32, accumulate, bits(scale)];
            let dx = dev.out_for(rows * cols, accumulate);
            let bound = [&dev.f32(&dy), &dx.tensor];
            dev.run("reduce_rows_bwd", &Variant::new(), params, &bound, groups);
            let g = |i: usize| f64::from(dy[i / cols]) * f64::from(scale) + before(accumulate);
            dev.check(
                "mean, backward",
                &dx,
                &(0..rows * cols)
                    .map(|i| near(g(i), 2.0))
                    .collect::<Vec<_>>(),
            );
            let dx = dev.out_for(rows * cols, accumulate);
            let bound = [&dev.f32(&dy), &arg, &dx.tensor];
            dev.run("reduce_rows_bwd", &max, params, &bound, groups);
            let g = |i: usize| {
                if i % cols == first(i / cols) {
                    f64::from(dy[i / cols])
                } else {
                    0.0
                }
            };
            let want: Vec<_> = (0..rows * cols)
                .map(|i| near(g(i) + before(accumulate), 2.0))
                .collect();
            dev.check("max, backward", &dx, &want);
        }
    }
}

#[test]
fn column_and_whole_sums() {
    for (rows, cols, splits) in [(1, 1, 1), (257, 65, 4), (1000, 123, 7), (63, 3, 8)] {
        let dev = Dev::new();
        let x = noise(rows * cols, 8, 1.0);
        let source = dev.f32(&x);
        let part = dev.out(splits * cols);
        let per = rows.div_ceil(splits);
        let wide = cols.div_ceil(64) as u32;
        let params = [rows as u32, cols as u32, per as u32, 0];
        let groups = Groups::Grid([wide, splits as u32, 1]);
        dev.run(
            "sum_cols",
            &Variant::new(),
            params,
            &[&source, &part.tensor],
            groups,
        );
        let y = dev.out_for(cols, 1);
        let params = [splits as u32, cols as u32, splits as u32, 1];
        let groups = Groups::Grid([wide, 1, 1]);
        dev.run(
            "sum_cols",
            &Variant::new(),
            params,
            &[&part.tensor, &y.tensor],
            groups,
        );
        let sum =
            |c: usize, f: fn(f64) -> f64| (0..rows).map(|r| f(x[r * cols + c].into())).sum::<f64>();
        let want: Vec<_> = (0..cols)
            .map(|c| near(sum(c, |v| v) + before(1), sum(c, f64::abs) + 1.0))
            .collect();
        dev.check("sum_cols", &y, &want);

        let n = rows * cols;
        for chunk in [n, n.div_ceil(3), 1000] {
            let groups = n.div_ceil(chunk);
            let part = dev.out(groups);
            let params = [n as u32, chunk as u32, 0, bits(1.0)];
            dev.run(
                "sum_all",
                &Variant::new(),
                params,
                &[&source, &part.tensor],
                Groups::Linear(groups as u64),
            );
            let y = dev.out_for(1, 1);
            let params = [groups as u32, groups as u32, 1, bits(0.5)];
            dev.run(
                "sum_all",
                &Variant::new(),
                params,
                &[&part.tensor, &y.tensor],
                Groups::Linear(1),
            );
            let sum = |f: fn(f64) -> f64| x.iter().map(|&v| f(v.into())).sum::<f64>();
            dev.check(
                "sum_all",
                &y,
                &[near(0.5 * sum(|v| v) + before(1), sum(f64::abs))],
            );
        }
    }
}

#[test]
fn gradient_norm_and_clip_factor() {
    let dev = Dev::new();
    let n = 4097;
    let x = noise(n, 9, 1.0);
    let norm = |from: usize| {
        x[from..]
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let scale = 8.0f32;
    let state = dev.state(StepState {
        loss_scale: scale,
        ..Default::default()
    });
    let result = dev.u32(&[0; 4]);
    let run = |grads: &[f32], max_norm: f32| {
        let sums = dev.out(11);
        // Two slices share the sums: [0, 1000) in 3 chunks, [1000, n) in 8.
        for (start, len, chunk, base) in [(0, 1000, 400, 0), (1000, n - 1000, 400, 3)] {
            let params = [len, start, chunk, base].map(|v| v as u32);
            let groups = Groups::cover(len, chunk);
            dev.run(
                "grad_norm_partial",
                &Variant::new(),
                params,
                &[&dev.f32(grads), &sums.tensor],
                groups,
            );
        }
        let params = [11, bits(max_norm)];
        let bound = [&state, &sums.tensor, &result];
        dev.run(
            "grad_norm_finish",
            &Variant::new(),
            params,
            &bound,
            Groups::Linear(1),
        );
        let words = result.to_vec::<u32>().unwrap();
        (
            f32::from_bits(words[0]),
            f32::from_bits(words[1]),
            words[2],
            words[3],
        )
    };
    let close = |a: f32, b: f64| (f64::from(a) - b).abs() <= 2e-6 * b.abs();
    let true_norm = norm(0) / f64::from(scale);
    let (factor, got, finite, skipped) = run(&x, 2.0);
    assert!(
        close(got, true_norm) && (finite, skipped) == (1, 0),
        "{got} {true_norm}"
    );
    assert!(close(factor, 2.0 / (true_norm + 1e-6) / 8.0), "{factor}");
    assert_eq!(
        run(&x, 1e9).0,
        1.0 / 8.0,
        "below the limit nothing is clipped"
    );
    assert_eq!(run(&x, 0.0).0, 1.0 / 8.0, "0 turns clipping off");
    for (k, bad) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
        .into_iter()
        .enumerate()
    {
        let mut x = x.clone();
        x[n - 1] = bad;
        let (factor, _, finite, skipped) = run(&x, 2.0);
        assert_eq!((factor, finite, skipped), (0.0, 0, k as u32 + 1), "{bad}");
    }
}

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
    // (n, row, period, pattern)
    for (n, row, period, pattern) in [
        (1, 1, 1, false),
        (65, 1, 65, false),
        (4099, 1, 4099, false),
        (630, 7, 90, true),
        (630, 1, 90, true),
        (123, 5, 1000, true),
    ] {
        for p in [0.0f32, 0.3, 0.5] {
            let dev = Dev::new();
            let (threshold, scale) = (philox::drop_threshold(p), 1.0 / (1.0 - p));
            let factor = |e: usize| {
                let cell = if pattern {
                    (e as u32 / row) % period
                } else {
                    e as u32
                };
                if word(cell, 3) < threshold {
                    0.0
                } else {
                    f64::from(scale)
                }
            };
            let variant = Variant::new().with("PATTERN", pattern);
            let x = noise(n, 10, 1.0);
            let y = dev.out(n);
            let params = [n as u32, 3, threshold, row, period, bits(scale)];
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
                let params = [n as u32, 3, threshold, row, period, accumulate, bits(scale)];
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
    let (vocab, width, none) = (37u32, 65usize, u32::MAX);
    let ids: Vec<u32> = (0..123u32)
        .map(|i| if i % 11 == 5 { none } else { i * i * 7 % 31 })
        .collect();
    let (n, state) = (
        ids.len(),
        StepState {
            draw: 2,
            seed_lo: 9,
            ..Default::default()
        },
    );
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
    for dropped in [false, true] {
        let dev = Dev::new();
        let threshold = philox::drop_threshold(0.4);
        let factor = |id: u32| match dropped {
            false => 1.0,
            true if philox4x32([id / 4, 6, 2, 0], [9, 0])[id as usize % 4] < threshold => 0.0,
            true => f64::from(1.0f32 / 0.6),
        };
        let variant = Variant::new().with("ROW_DROPOUT", dropped);
        let state = dev.state(state);
        let y = dev.out(n * width);
        let params = [n as u32, width as u32, vocab, 6, threshold, bits(1.0 / 0.6)];
        let (ti, tt) = (dev.u32(&ids), dev.f32(&table));
        let bound = if dropped {
            vec![&ti, &tt, &state, &y.tensor]
        } else {
            vec![&ti, &tt, &y.tensor]
        };
        dev.run(
            "embedding_fwd",
            &variant,
            params,
            &bound,
            Groups::Linear(n as u64),
        );
        let value = |i: usize| match ids[i / width] {
            id if id < vocab => factor(id) * f64::from(table[id as usize * width + i % width]),
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
            let params = [
                n as u32,
                width as u32,
                vocab,
                accumulate,
                6,
                threshold,
                bits(1.0 / 0.6),
            ];
            let (tr, ts, to, tdy) = (
                dev.u32(&rows),
                dev.u32(&starts),
                dev.u32(&order),
                dev.f32(&dy),
            );
            let bound = if dropped {
                vec![&tr, &ts, &to, &tdy, &state, &d.tensor]
            } else {
                vec![&tr, &ts, &to, &tdy, &d.tensor]
            };
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
                    let g = factor(*id) * f64::from(dy[k * width + c]);
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
}

#[test]
fn softmax_cross_entropy() {
    for (rows, vocab, wg, first) in [
        (1, 1, 64, 0),
        (65, 2, 64, 3),
        (7, 257, 256, 0),
        (5, 1003, 256, 2),
    ] {
        for smoothing in [0.0f32, 0.1] {
            let dev = Dev::new();
            let mut z = noise(rows * vocab, 13, 3.0);
            if rows > 4 {
                z[..vocab].iter_mut().for_each(|v| *v += 1e4); // large: must not overflow
                z[vocab] = 500.0; // peaked
            }
            let total = first + rows;
            let mut targets: Vec<u32> = (0..total).map(|r| (r * 5 % vocab) as u32).collect();
            let mut weights: Vec<f32> = (0..total).map(|r| 0.5 + r as f32 / 8.0).collect();
            if rows > 4 {
                targets[first + 2] = u32::MAX;
                weights[first + 3] = 0.0;
                z[2 * vocab] = f32::NAN; // ignored rows are not read
            }
            let e = f64::from(smoothing);
            let mut loss_want = vec![exactly(before(1)); total];
            let mut grad_want = Vec::new();
            let mut best_want = vec![123; total];
            for r in 0..rows {
                let (t, w) = (targets[first + r] as usize, f64::from(weights[first + r]));
                let row: Vec<f64> = z[r * vocab..(r + 1) * vocab]
                    .iter()
                    .map(|&v| v.into())
                    .collect();
                if t >= vocab || w == 0.0 {
                    loss_want[first + r] = exactly(0.0);
                    best_want[first + r] = u32::MAX;
                    grad_want.extend(vec![exactly(0.0); vocab]);
                    continue;
                }
                let top = row.iter().copied().fold(f64::MIN, f64::max);
                let lse = top + row.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
                let mean = row.iter().sum::<f64>() / vocab as f64;
                let loss = w * (lse - (1.0 - e) * row[t] - e * mean);
                // z up to 1e4 has a spacing of 1e-3 in f32, which smoothing's mean cannot beat.
                loss_want[first + r] = near(loss, loss.abs() + w * (10.0 + e * top.abs()));
                best_want[first + r] = row.iter().position(|&v| v == top).unwrap() as u32;
                grad_want.extend((0..vocab).map(|v| {
                    let onehot = if v == t { 1.0 - e } else { 0.0 } + e / vocab as f64;
                    near(w * ((row[v] - lse).exp() - onehot), w)
                }));
            }
            for (grad, argmax) in [(false, true), (true, false), (true, true)] {
                let logits = dev.out_with(&z);
                let (loss, best) = (dev.out_for(total, 1), dev.u32(&vec![123; total]));
                let variant = Variant::new()
                    .with("GRAD", grad)
                    .with("ARGMAX", argmax)
                    .with("WG", wg as u32);
                let params = [rows as u32, vocab as u32, first as u32, bits(smoothing)];
                let (tt, tw) = (dev.u32(&targets), dev.f32(&weights));
                let mut bound = vec![&tt, &tw, &logits.tensor, &loss.tensor];
                bound.extend(argmax.then_some(&best));
                dev.run(
                    "softmax_xent",
                    &variant,
                    params,
                    &bound,
                    Groups::Linear(rows as u64),
                );
                let what = format!("{rows} x {vocab}, e {smoothing}");
                dev.check(&format!("loss, {what}"), &loss, &loss_want);
                if grad {
                    dev.check(&format!("gradient, {what}"), &logits, &grad_want);
                }
                if argmax {
                    assert_eq!(best.to_vec::<u32>().unwrap(), best_want, "best, {what}");
                }
            }
        }
    }
    // A NaN in a row that counts comes out as NaN, in the loss and in the whole gradient.
    let dev = Dev::new();
    let mut z = noise(300, 14, 1.0);
    z[77] = f32::NAN;
    let (logits, loss) = (dev.out_with(&z), dev.out(1));
    let variant = Variant::new().with("GRAD", Value::Bool(true));
    let bound = [
        &dev.u32(&[3]),
        &dev.f32(&[1.0]),
        &logits.tensor,
        &loss.tensor,
    ];
    dev.run(
        "softmax_xent",
        &variant,
        [1, 300, 0, 0],
        &bound,
        Groups::Linear(1),
    );
    assert!(dev.read(&loss)[0].is_nan());
    assert!(dev.read(&logits).iter().all(|v| v.is_nan()));
}
