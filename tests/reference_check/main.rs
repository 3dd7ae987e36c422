//! The references are checked themselves: gradients by central differences, everything that PyTorch
//! has by its fixtures, and the comparison by what it must refuse.

#[path = "../reference/mod.rs"]
mod reference;

mod comparison;
mod layers;
mod operators;
mod pictures;
// Reads safetensors, which comes with this feature.
#[cfg(feature = "train")]
mod pytorch;

use reference::tolerance::{self, Tolerance};
use reference::{Data, cast};

fn normal(data: &mut Data, n: usize) -> Vec<f64> {
    cast(&data.normal(n, 1.0))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// (f(x + e) - f(x - e)) / 2e for each element of x.
fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|at| {
            let own = x[at];
            x[at] = own + STEP;
            let above = f(&x);
            x[at] = own - STEP;
            let below = f(&x);
            x[at] = own;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// Both at f64: f32 would hide what the differences can show.
#[track_caller]
fn assert_gradient(name: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}");
    let Tolerance { atol, rtol, .. } = tolerance::DIFFERENCES;
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let allowed = atol + rtol * want.abs();
        assert!(
            (got - want).abs() <= allowed,
            "{name}[{at}]: {got:e}, by differences {want:e}"
        );
    }
    assert!(
        want.iter().any(|w| w.abs() > 1e-3),
        "{name}: the check sees no gradient"
    );
}
