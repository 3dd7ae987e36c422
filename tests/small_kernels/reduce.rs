//! Column and whole sums; the gradient norm.

use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;

#[test]
fn column_and_whole_sums() {
    for (rows, cols, splits) in [
        (1, 1, 1),
        (257, 65, 4),
        (1000, 123, 7),
        (63, 3, 8),
        (300, 132, 5),
    ] {
        let dev = Dev::new();
        let x = noise(rows * cols, 8, 1.0);
        let source = dev.f32(&x);
        let part = dev.out(splits * cols);
        let per = rows.div_ceil(splits);
        let (vec4, lanes) = wide(cols);
        let variant = Variant::new().with("VEC4", vec4);
        let columns = (cols / lanes) as u32;
        let tiles = columns.div_ceil(64);
        let params = [rows as u32, columns, per as u32, 0, columns];
        let groups = Groups::Grid([tiles, splits as u32, 1]);
        dev.run(
            "sum_cols",
            &variant,
            params,
            &[&source, &part.tensor],
            groups,
        );
        let y = dev.out_for(cols, 1);
        let params = [splits as u32, columns, splits as u32, 1, columns];
        let groups = Groups::Grid([tiles, 1, 1]);
        dev.run(
            "sum_cols",
            &variant,
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
    for n in [4097, 4096] {
        gradient_norm(n);
    }
}

fn gradient_norm(n: usize) {
    let dev = Dev::new();
    let (vec4, lanes) = wide(n);
    let variant = Variant::new().with("VEC4", vec4);
    let x = noise(n, 9, 1.0);
    let norm = |from: usize| {
        x[from..]
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let scale = 8.0f32;
    let loss_scale = dev.f32(&[scale, 0.0]);
    let result = dev.u32(&[0; 4]);
    let run = |grads: &[f32], max_norm: f32| {
        let sums = dev.out(11);
        // Two slices share the sums: [0, 1000) in 3 chunks, [1000, n) in 8.
        for (start, len, chunk, base) in [(0, 1000, 400, 0), (1000, n - 1000, 400, 3)] {
            let params = [len / lanes, start / lanes, chunk / lanes, base].map(|v| v as u32);
            let groups = Groups::cover(len, chunk);
            dev.run(
                "grad_norm_partial",
                &variant,
                params,
                &[&dev.f32(grads), &sums.tensor],
                groups,
            );
        }
        let params = [11, bits(max_norm), 0];
        let bound = [&loss_scale, &sums.tensor, &result];
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
    let held = loss_scale.to_vec::<f32>().unwrap();
    assert_eq!(held, [scale, 0.0], "without an interval the scale stays");
}

#[test]
fn the_loss_scale_halves_at_an_overflow_and_doubles_after_good_steps() {
    let dev = Dev::new();
    let loss_scale = dev.f32(&[8.0, 0.0]);
    let result = dev.u32(&[0; 4]);
    let (good, bad) = (dev.f32(&[4.0]), dev.f32(&[f32::INFINITY]));
    let step = |sum| {
        dev.run(
            "grad_norm_finish",
            &Variant::new(),
            [1, bits(0.0), 3],
            &[&loss_scale, sum, &result],
            Groups::Linear(1),
        );
        let factor = f32::from_bits(result.to_vec::<u32>().unwrap()[0]);
        (factor, loss_scale.to_vec::<f32>().unwrap())
    };
    let at = |factor: f32, scale: f32, good: f32| (factor, vec![scale, good]);
    assert_eq!(step(&good), at(0.125, 8.0, 1.0));
    assert_eq!(step(&bad), at(0.0, 4.0, 0.0));
    assert_eq!(step(&good), at(0.25, 4.0, 1.0));
    assert_eq!(step(&good), at(0.25, 4.0, 2.0));
    // The step that fills the interval still takes the old scale out.
    assert_eq!(step(&good), at(0.25, 8.0, 0.0));
    assert_eq!(step(&good), at(0.125, 8.0, 1.0));
    loss_scale.write(&[16_777_216.0f32, 2.0]).unwrap();
    assert_eq!(step(&good).1, [16_777_216.0, 0.0], "no further than 2^24");
}

#[test]
fn the_same_bits_twice() {
    let (rows, cols) = (257, 123);
    let run = || {
        let dev = Dev::new();
        let source = dev.f32(&noise(rows * cols, 15, 1.0));
        let (all, columns) = (dev.out(1), dev.out(cols));
        let n = (rows * cols) as u32;
        let bound = [&source, &all.tensor];
        let params = [n, n, 0, bits(1.0)];
        dev.run(
            "sum_all",
            &Variant::new(),
            params,
            &bound,
            Groups::Linear(1),
        );
        let params = [rows as u32, cols as u32, rows as u32, 0, cols as u32];
        let bound = [&source, &columns.tensor];
        dev.run(
            "sum_cols",
            &Variant::new(),
            params,
            &bound,
            Groups::Grid([2, 1, 1]),
        );
        let mut bits: Vec<u32> = dev.read(&columns).iter().map(|v| v.to_bits()).collect();
        bits.push(dev.read(&all)[0].to_bits());
        bits
    };
    assert_eq!(run(), run());
}
