//! Dropout: what it keeps, how often, and that the way back keeps the same.

use melos::device::Gpu;
use melos::doctor::operators::dropout::{Dropout, Noise};
use melos::doctor::proof::input;
use melos::ops;
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{Init, ParamSpec, ParamStore, Tape, Tensor};

use crate::reference::{Data, ODD_SIZES, assert_same_bits};
use crate::support::{gpu, prove};

/// Step states are advanced by an optimiser.
fn optimizer(gpu: &Gpu) -> Optimizer {
    let spec = ParamSpec::new("p", [1], Init::Constant(0.0));
    let store = ParamStore::new(gpu, vec![spec], 0, |_| 1.0).unwrap();
    let kind = OptimizerKind::Sgd { weight_decay: 0.0 };
    Optimizer::new(gpu, kind, &store).unwrap()
}

/// What dropout keeps of `n` values in each of `layers` uses of one step.
fn masks(gpu: &Gpu, state: &StepState, layers: usize, n: usize, p: f32) -> Vec<Vec<bool>> {
    let tape = Tape::training(gpu, state.tensor());
    let ones = Tensor::from_slice(gpu, [n], &vec![1.0f32; n]).unwrap();
    let kept = |_| {
        let y = ops::dropout(&tape, &ones, p).unwrap();
        let y = y.to_vec::<f32>().unwrap();
        y.iter().map(|y| *y != 0.0).collect()
    };
    (0..layers).map(kept).collect()
}

#[test]
fn forward_and_backward_keep_the_same() {
    let gpu = gpu();
    for n in ODD_SIZES.into_iter().chain([1028]) {
        for p in [0.1f32, 0.5, 0.9] {
            let x = Data::new(n as u64).peaked(n, 1.0, 20.0);
            prove(&Dropout(p), &gpu, &[input(&[n], x)]);
            let x = Data::new(n as u64).normal(n, 0.1);
            prove(&Noise(p), &gpu, &[input(&[n], x)]);
        }
    }
}

#[test]
fn as_many_fall_as_should() {
    let gpu = gpu();
    let state = StepState::new(&gpu, 3).unwrap();
    let n = 100_003;
    for p in [0.05f32, 0.3, 0.5, 0.8] {
        let kept = masks(&gpu, &state, 1, n, p)[0]
            .iter()
            .filter(|k| **k)
            .count();
        let (n, p) = (n as f64, f64::from(p));
        let sigmas = (kept as f64 - n * (1.0 - p)) / (n * p * (1.0 - p)).sqrt();
        assert!(sigmas.abs() < 4.0, "p {p}: {sigmas} sigma");
    }
}

#[test]
fn nothing_falls_at_0_or_outside_of_training() {
    let gpu = gpu();
    let state = StepState::new(&gpu, 3).unwrap();
    let x = Tensor::from_slice(&gpu, [257], &Data::new(1).normal(257, 1.0)).unwrap();
    let host = x.to_vec::<f32>().unwrap();
    let training = Tape::training(&gpu, state.tensor());
    for (tape, p) in [(training, 0.0), (Tape::inference(&gpu), 0.7)] {
        let y = ops::dropout(&tape, &x, p).unwrap();
        assert_same_bits("identity", &y.to_vec::<f32>().unwrap(), &host);
    }
}

/// Independent masks agree on half of their values at p = 0.5, within 4 sigma.
fn assert_independent(name: &str, a: &[bool], b: &[bool]) {
    let n = a.len() as f64;
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
    let sigmas = (equal - n / 2.0) / (n / 4.0).sqrt();
    assert!(sigmas.abs() < 4.0, "{name}: {equal} of {n} agree");
}

#[test]
fn another_step_layer_or_seed_keeps_others() {
    let gpu = gpu();
    let optimizer = optimizer(&gpu);
    let n = 4099;
    let at = |seed, step| {
        let state = StepState::new(&gpu, seed).unwrap();
        state.advance(&optimizer, step, 0.1).unwrap();
        masks(&gpu, &state, 2, n, 0.5)
    };
    let first = at(1, 1);
    assert_eq!(first, at(1, 1), "the same draw");
    assert_independent("layer", &first[0], &first[1]);
    for (name, other) in [
        ("step", at(1, 2)),
        ("seed", at(2, 1)),
        ("high seed", at(1 + (1 << 32), 1)),
    ] {
        assert_independent(name, &first[0], &other[0]);
        assert_independent(name, &first[1], &other[1]);
    }
}
