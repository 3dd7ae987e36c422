//! Element-wise functions, broadcasting, axpy and strided copies.

use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;

const SIZES: [usize; 8] = [1, 3, 63, 65, 123, 257, 260, 2052];

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
            let (vec4, lanes) = wide(n);
            let variant = Variant::new().with("OP", op as u32).with("VEC4", vec4);
            let y = dev.out(n);
            let elements = (n / lanes) as u32;
            let params = [elements, bits(1.5), bits(-0.25)];
            let groups = Groups::cover(n / lanes, 256);
            dev.run(
                "unary_fwd",
                &variant,
                params,
                &[&dev.f32(&x), &y.tensor],
                groups,
            );
            // WGSL lets log err by 2^-21 near 1.
            let floor = if op == 6 { 0.25 } else { 1e-3 };
            let want: Vec<_> = x
                .iter()
                .map(|&v| f(v.into()))
                .map(|fv| near(fv, fv.abs() + floor))
                .collect();
            dev.check(&format!("unary_fwd OP {op} n {n}"), &y, &want);

            let dy = noise(n, 99, 1.0);
            let saved = if *from_y { dev.read(&y) } else { x.clone() };
            for accumulate in [0, 1] {
                let dx = dev.out_for(n, accumulate);
                let params = [elements, accumulate, bits(1.5)];
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
fn gelu_keeps_its_digits_in_both_tails() {
    let dev = Dev::new();
    let x: Vec<f32> = (-1200..=1200).map(|i| i as f32 / 100.0).collect();
    let y = dev.out(x.len());
    dev.run(
        "unary_fwd",
        &Variant::new().with("OP", 4),
        [x.len() as u32, 0, 0],
        &[&dev.f32(&x), &y.tensor],
        Groups::cover(x.len(), 256),
    );
    for (x, got) in x.iter().zip(dev.read(&y)) {
        let x = f64::from(*x);
        let want = x * normal_cdf(x);
        // WGSL lets exp(-x²/2) err by 3 + x² units in the last place.
        let allowed = f64::from(f32::EPSILON) * (8.0 + x * x) * want.abs();
        let error = (f64::from(got) - want).abs();
        assert!(error <= allowed, "gelu({x}) is {got}, should be {want}");
    }
}

#[test]
fn binary_with_broadcasting_forward_and_backward() {
    // (shape of a, shape of b)
    let cases = [
        ([1, 1, 1, 65], [1, 1, 1, 65]),
        ([2, 3, 5, 7], [2, 3, 5, 7]),
        ([2, 3, 5, 4], [2, 3, 5, 4]),
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
            let (vec4, lanes) = if same { wide(n) } else { (false, 1) };
            let variant = Variant::new()
                .with("OP", op)
                .with("SAME", same)
                .with("VEC4", vec4);
            let y = dev.out(n);
            let mut params = [0u32; 16];
            params[..4].copy_from_slice(&shape);
            params[4..8].copy_from_slice(&ta);
            params[8..12].copy_from_slice(&tb);
            params[12] = (n / lanes) as u32;
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
            let (vec4, lanes) = wide(n);
            let variant = Variant::new().with("SCALED", scaled).with("VEC4", vec4);
            let params = [(n / lanes) as u32, accumulate, bits(0.75)];
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
}

/// Behind what each row holds; past the end nothing is written, however far.
#[test]
fn sequences_appended_to_a_cache() {
    let dev = Dev::new();
    let (b, t, s, c, row, first) = (5usize, 3usize, 7usize, 5usize, 17usize, 11usize);
    let starts = [0u32, 4, 6, 7, u32::MAX];
    let x = noise(b * t * row, 4, 1.0);
    let y = dev.out_with(&vec![0.5; b * s * c]);
    let params = [
        (b * t * c) as u32,
        t as u32,
        s as u32,
        c as u32,
        row as u32,
        first as u32,
    ];
    dev.run(
        "cache_append",
        &Variant::new(),
        params,
        &[&dev.u32(&starts), &dev.f32(&x), &y.tensor],
        Groups::cover(b * t * c, 256),
    );
    let mut want = vec![exactly(0.5); b * s * c];
    for (row_of, start) in starts.iter().enumerate() {
        for step in 0..t {
            let at = *start as usize + step;
            for column in (0..c).filter(|_| at < s) {
                let value = x[(row_of * t + step) * row + first + column];
                want[(row_of * s + at) * c + column] = exactly(value.into());
            }
        }
    }
    dev.check("cache_append", &y, &want);
}
