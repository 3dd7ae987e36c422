//! Softmax cross entropy.

use super::support::*;
use melos::device::Groups;
use melos::kernels::Variant;

#[test]
fn softmax_cross_entropy() {
    for (rows, vocab, wg, first) in [
        (1, 1, 64, 0),
        (65, 2, 64, 3),
        (7, 257, 256, 0),
        (5, 1003, 256, 2),
        (9, 4, 64, 1),
        (6, 1028, 64, 0),
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
                    .with("VEC4", wide(vocab).0)
                    .with("WG", wg as u32);
                let vocab32 = vocab as u32;
                let params = [rows as u32, vocab32, first as u32, bits(smoothing), vocab32];
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
    for vec4 in [false, true] {
        a_nan_spreads(vec4);
    }
}

fn a_nan_spreads(vec4: bool) {
    let dev = Dev::new();
    let mut z = noise(300, 14, 1.0);
    z[77] = f32::NAN;
    let (logits, loss) = (dev.out_with(&z), dev.out(1));
    let variant = Variant::new().with("GRAD", true).with("VEC4", vec4);
    let bound = [
        &dev.u32(&[3]),
        &dev.f32(&[1.0]),
        &logits.tensor,
        &loss.tensor,
    ];
    dev.run(
        "softmax_xent",
        &variant,
        [1, 300, 0, 0, 300],
        &bound,
        Groups::Linear(1),
    );
    assert!(dev.read(&loss)[0].is_nan());
    assert!(dev.read(&logits).iter().all(|v| v.is_nan()));
}
