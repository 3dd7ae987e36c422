//! Layer normalisation.

use super::reference::norm::{layer_norm, layer_norm_bwd};
use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;
use melos::kernels::philox::{drop_threshold, philox4x32};

const EPS: f32 = 1e-5;
/// Of dropout: its probability, its layer, and the step that draws.
const P: f32 = 0.25;
const LAYER: u32 = 3;
const STATE: StepState = StepState {
    step: 4,
    draw: 9,
    seed_lo: 77,
    seed_hi: 1,
    lr: 0.1,
    bias: [1.0; 2],
};

/// Dropout's factor of element `e`.
fn factor(e: usize) -> f32 {
    let key = [STATE.seed_lo, STATE.seed_hi];
    let word = philox4x32([e as u32 / 4, LAYER, STATE.draw, 0], key)[e % 4];
    if word < drop_threshold(P) {
        0.0
    } else {
        1.0 / (1.0 - P)
    }
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Rows, one of them constant and one with a peak.
fn rows(count: usize, width: usize, seed: u32) -> Vec<f32> {
    let mut x = noise(count * width, seed, 2.0);
    x[..width].fill(0.75);
    if count > 2 {
        x[2 * width] = 500.0;
    }
    x
}

#[test]
fn layer_norm_forward_and_backward() {
    for (count, width) in [
        (1, 1),
        (3, 63),
        (65, 3),
        (9, 65),
        (13, 123),
        (33, 257),
        (11, 260),
    ] {
        for lanes in [8, 32, 64] {
            one_size(count, width, lanes);
        }
    }
}

fn one_size(count: usize, width: usize, lanes: u32) {
    let dev = Dev::new();
    let n = count * width;
    let (vec4, values) = wide(width);
    let row_variant = Variant::new().with("LANES", lanes).with("VEC4", vec4);
    let row_groups = Groups::cover(count * lanes as usize, 64);
    let [rows32, cols32] = [count as u32, width as u32];
    let what = format!("{count} x {width}, {lanes} lanes");
    let (x, residual) = (rows(count, width, 1), vec![0.5; n]);
    let (gamma, beta) = (noise(width, 2, 2.0), noise(width, 3, 1.0));
    let [tx, tr, tg, tb] = [&x, &residual, &gamma, &beta].map(|v| dev.f32(v));
    let x_sum: Vec<f32> = x.iter().map(|v| v + 0.5).collect();
    let dropped: Vec<f32> = (0..n).map(|e| x[e] * factor(e) + 0.5).collect();
    let (state, mask) = (
        dev.state(STATE),
        [LAYER, drop_threshold(P), bits(1.0 / (1.0 - P))],
    );
    let (g, b) = (f64s(&gamma), f64s(&beta));

    // With a residual alone last, so that its sum and stats serve the backward.
    let mut stats = dev.out(2 * count);
    let mut sum = dev.out(n);
    for (with, drops) in [(false, false), (true, true), (true, false)] {
        let y = dev.out(n);
        (stats, sum) = (dev.out(2 * count), dev.out(n));
        let mut bound = vec![&tx, &tg, &tb];
        if with {
            bound.extend([&tr, &sum.tensor]);
        }
        bound.extend([&y.tensor, &stats.tensor]);
        bound.extend(drops.then_some(&state));
        let variant = row_variant
            .clone()
            .with("RESIDUAL", with)
            .with("DROPOUT", drops);
        let params = [rows32, cols32, bits(EPS), mask[0], mask[1], mask[2]];
        dev.run("layer_norm_fwd", &variant, params, &bound, row_groups);
        let added = if drops { &dropped } else { &x_sum };
        let source = f64s(if with { added } else { &x });
        let y_want = layer_norm(&source, &g, &b, EPS.into());
        // n = (x - mean) rstd errs by the rounding of x, times rstd.
        let want: Vec<_> = (0..n)
            .map(|i| near(y_want[i], 4.0 * g[i % width].abs() + b[i % width].abs()))
            .collect();
        dev.check(&format!("y of {what}"), &y, &want);
        if with {
            let want: Vec<_> = added.iter().map(|&v| near(v.into(), 500.0)).collect();
            dev.check(&format!("sum of {what}"), &sum, &want);
        }
    }

    let (dy, dsum) = (noise(n, 4, 1.0), noise(n, 5, 1.0));
    let (tdy, tdsum) = (dev.f32(&dy), dev.f32(&dsum));
    let tsum = dev.f32(&dev.read(&sum));
    let tstats = dev.f32(&dev.read(&stats));
    let source = f64s(&x_sum);
    let want = layer_norm_bwd(&source, &g, EPS.into(), &f64s(&dy));
    for (residual, used, drops, accumulate) in [
        (false, false, false, [0, 0]),
        (true, true, false, [1, 0]),
        (true, false, false, [0, 1]),
        (false, true, true, [1, 0]),
        (true, true, true, [0, 1]),
    ] {
        let dx = dev.out_for(n, accumulate[0]);
        let dresidual = dev.out_for(n, accumulate[1]);
        let mut bound = vec![&tdy, &tsum, &tstats, &tg];
        bound.extend(used.then_some(&tdsum));
        bound.push(&dx.tensor);
        bound.extend(residual.then_some(&dresidual.tensor));
        bound.extend(drops.then_some(&state));
        let variant = row_variant
            .clone()
            .with("RESIDUAL", residual)
            .with("SUM_USED", used)
            .with("DROPOUT", drops);
        let [flag, flag_residual] = accumulate;
        let params = [
            rows32,
            cols32,
            flag,
            flag_residual,
            mask[0],
            mask[1],
            mask[2],
        ];
        dev.run("layer_norm_bwd", &variant, params, &bound, row_groups);
        let of = |accumulate: u32, drops: bool| -> Vec<Want> {
            let kept = |i: usize| if drops { f64::from(factor(i)) } else { 1.0 };
            let scale = |i: usize| {
                // Errors grow with 1 / standard deviation, whose largest is that of eps alone.
                let row = &source[i / width * width..][..width];
                let mean = row.iter().sum::<f64>() / width as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
                8.0 / (variance + f64::from(EPS)).sqrt() + 4.0
            };
            let extra = |i: usize| if used { f64::from(dsum[i]) } else { 0.0 };
            (0..n)
                .map(|i| {
                    let d = (want.dx[i] + extra(i)) * kept(i);
                    near(d + before(accumulate), scale(i) * kept(i).max(1.0))
                })
                .collect()
        };
        dev.check(&format!("dx of {what}"), &dx, &of(flag, drops));
        if residual {
            dev.check(
                &format!("dresidual of {what}"),
                &dresidual,
                &of(flag_residual, false),
            );
        }
    }

    for per_split in [1, 4, count] {
        let splits = count.div_ceil(per_split);
        let (dgamma, dbeta) = (dev.out(splits * width), dev.out(splits * width));
        let columns = (width / values) as u32;
        let bound = [&tdy, &tsum, &tstats, &dgamma.tensor, &dbeta.tensor];
        let grid = Groups::Grid([columns.div_ceil(64), splits as u32, 1]);
        let variant = Variant::new().with("VEC4", vec4);
        let params = [rows32, columns, per_split as u32];
        dev.run("layer_norm_bwd_weights", &variant, params, &bound, grid);
        let (mut by_gamma, mut by_beta) = (vec![], vec![]);
        for s in 0..splits {
            let part = s * per_split * width..((s + 1) * per_split).min(count) * width;
            let part_dy = f64s(&dy[part.clone()]);
            let own = layer_norm_bwd(&source[part], &g, EPS.into(), &part_dy);
            let size = (per_split as f64) * 4.0;
            by_gamma.extend(own.dgamma.iter().map(|&v| near(v, size)));
            by_beta.extend(own.dbeta.iter().map(|&v| near(v, size)));
        }
        dev.check(&format!("dgamma of {what}"), &dgamma, &by_gamma);
        dev.check(&format!("dbeta of {what}"), &dbeta, &by_beta);
    }
}
