//! The optimisers and clipping against what PyTorch computed.

use melos::doctor::optimizers::{Pair, pairs};
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{Init, ParamSpec, ParamStore, Tensor};

use crate::reference::fixture::Fixture;
use crate::reference::optim::{self as literal, OptimizerState};
use crate::reference::{Data, assert_close, assert_same_bits, tolerance};
use crate::support::gpu;

fn spec(name: &str, len: usize) -> ParamSpec {
    ParamSpec::new(name, [len], Init::Constant(0.0))
}

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec().unwrap()
}

#[test]
fn every_optimizer_is_pytorchs() {
    let gpu = gpu();
    let file = Fixture::open("optimizers");
    let start = file.f32("input.parameters");
    let gradients = file.f32("input.gradients");
    for Pair {
        name,
        lr,
        kind,
        literal,
    } in pairs()
    {
        let store = ParamStore::new(&gpu, vec![spec("p", start.len())], 0, |_| 1.0).unwrap();
        let p = store.get("p").unwrap();
        p.write(start).unwrap();
        let optimizer = Optimizer::new(&gpu, kind, &store).unwrap();
        let state = StepState::new(&gpu, 1).unwrap();
        let mut naive = start.to_vec();
        let mut naive_state = OptimizerState::<f32>::new(start.len());
        let expected: Vec<f64> = file.float(&format!("expected.{name}"));
        // Steps after the first are one recording, replayed.
        let mut recording = None;
        for (n, gradient) in gradients.chunks(start.len()).enumerate() {
            state.advance(&optimizer, n as u64 + 1, lr as f32).unwrap();
            p.grad().unwrap().write(gradient).unwrap();
            let step = || optimizer.step(&store, &state, None);
            if n == 0 {
                step().unwrap();
            } else {
                let recorded = recording.get_or_insert_with(|| gpu.record(step).unwrap());
                gpu.replay(&recorded.0).unwrap();
            }
            literal.step(&mut naive_state, &mut naive, gradient);
            let want = &expected[n * start.len()..][..start.len()];
            let name = format!("{name} after step {}", n + 1);
            assert_close(&name, &host(&p), want, &naive, tolerance::OPTIMIZER);
            let left = host(p.grad().unwrap());
            assert!(left.iter().all(|g| *g == 0.0), "{name}: gradients stay");
        }
        assert_eq!(optimizer.skipped_steps().unwrap(), 0);
    }
}

#[test]
fn clipping_is_pytorchs() {
    let gpu = gpu();
    let file = Fixture::open("gradient_clipping");
    // With rate 1, from 0, plain SGD's step is minus the clipped gradient.
    let kind = OptimizerKind::Sgd { weight_decay: 0.0 };
    for case in ["clipped", "unclipped", "zero"] {
        let inputs = [0, 1, 2].map(|n| file.f32(&format!("{case}.input.{n}")));
        let max_norm = file.f32(&format!("{case}.max_norm"))[0];
        let names = ["a", "b", "c"];
        let specs = names.iter().zip(inputs).map(|(n, g)| spec(n, g.len()));
        // Three learning rates that are the same one: three groups, one norm.
        let store = ParamStore::new(&gpu, specs.collect(), 0, |n| match n {
            "b" => 1.0 + f32::EPSILON,
            "c" => 1.0 - f32::EPSILON,
            _ => 1.0,
        });
        let store = store.unwrap();
        assert_eq!(store.groups().len(), 3);
        let optimizer = Optimizer::new(&gpu, kind, &store).unwrap();
        let state = StepState::new(&gpu, 1).unwrap();
        state.advance(&optimizer, 1, 1.0).unwrap();
        for (name, gradient) in names.iter().zip(inputs) {
            let p = store.get(name).unwrap();
            p.grad().unwrap().write(gradient).unwrap();
        }
        let norm = optimizer.step(&store, &state, Some(max_norm)).unwrap();
        let mut naive = inputs.map(<[f32]>::to_vec);
        let naive_norm =
            literal::clip_grad_norm(&mut naive.each_mut().map(|g| &mut g[..]), max_norm.into());
        let want = file.float(&format!("{case}.norm"));
        assert_close(case, &host(&norm), &want, &[naive_norm], tolerance::NORM);
        for (n, name) in names.iter().enumerate() {
            let step: Vec<f32> = host(&store.get(name).unwrap()).iter().map(|p| -p).collect();
            let want = file.float(&format!("{case}.expected.{n}"));
            assert_close(case, &step, &want, &naive[n], tolerance::NORM);
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_changes_nothing_and_is_counted() {
    let gpu = gpu();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for Pair { name, kind, .. } in pairs() {
            let mut data = Data::new(21);
            // Two groups and a frozen parameter; only the second group has a bad gradient.
            let lens = [("first", 65), ("second", 123), ("frozen", 3)];
            let specs = lens.map(|(n, len)| spec(n, len)).to_vec();
            let rate = |n: &str| match n {
                "first" => 1.0,
                "second" => 0.5,
                _ => 0.0,
            };
            let store = ParamStore::new(&gpu, specs, 0, rate).unwrap();
            for (name, len) in lens {
                let values = data.normal(len, 1.0);
                store.get(name).unwrap().write(&values).unwrap();
            }
            let optimizer = Optimizer::new(&gpu, kind, &store).unwrap();
            let state = StepState::new(&gpu, 1).unwrap();
            let all = || -> Vec<Vec<f32>> {
                let values = lens.map(|(n, _)| host(&store.get(n).unwrap()));
                let kept = optimizer.state().iter().flatten().map(host);
                values.into_iter().chain(kept).collect()
            };
            let mut step = |n: u64, poison: bool| {
                for (name, len) in &lens[..2] {
                    let mut gradient = data.normal(*len, 1.0);
                    if poison && *name == "second" {
                        gradient[97] = bad;
                    }
                    let p = store.get(name).unwrap();
                    p.grad().unwrap().write(&gradient).unwrap();
                }
                state.advance(&optimizer, n, 0.01).unwrap();
                optimizer.step(&store, &state, Some(1.0)).unwrap();
            };
            let fresh = all();
            step(1, false);
            let before = all();
            assert_ne!(fresh[0], before[0], "{name} trains");
            assert_same_bits("frozen", &fresh[2], &before[2]);
            step(2, true);
            for (k, (before, after)) in before.iter().zip(all()).enumerate() {
                let name = format!("{name}: {bad} in a gradient, tensor {k}");
                assert_same_bits(&name, before, &after);
            }
            assert_eq!(optimizer.skipped_steps().unwrap(), 1, "{name}");
            step(3, false);
            assert_ne!(before[0], all()[0], "{name} trains on");
            assert_eq!(optimizer.skipped_steps().unwrap(), 1, "{name}");
            let left = host(store.get("second").unwrap().grad().unwrap());
            assert!(left.iter().all(|g| *g == 0.0), "{name}: gradients stay");
        }
    }
}
