//! Checkpointing and gradient accumulation: the same bits as without, for less memory.

use std::rc::Rc;

use melos::device::Gpu;
use melos::error::Result;
use melos::ops::{self, Unary};
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{Init, ParamSpec, ParamStore, Tape, Tensor};

use crate::common;
use crate::reference::{Data, assert_same_bits};
use crate::support::gpu;

const WIDTH: usize = 64;

/// Residual blocks with dropout, whose input is used twice.
struct Net {
    weights: Rc<Vec<Tensor>>,
    p: f32,
}

impl Net {
    fn specs(layers: usize) -> Vec<ParamSpec> {
        let spec = |i| ParamSpec::new(format!("w{i}"), [WIDTH, WIDTH], Init::Normal(0.1));
        (0..layers).map(spec).collect()
    }

    fn new(store: &ParamStore, p: f32) -> Net {
        let names = store.specs().map(|s| s.name.clone());
        let weights = names.map(|n| store.get(&n).unwrap()).collect();
        Net {
            weights: Rc::new(weights),
            p,
        }
    }

    fn block(w: &Tensor, p: f32, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let h = ops::unary(tape, &ops::linear(tape, x, w, None)?, Unary::Tanh)?;
        let h = ops::dropout(tape, &h, p)?;
        let h = ops::unary(tape, &ops::scale(tape, &h, 2.0)?, Unary::Sigmoid)?;
        ops::add(tape, x, &h)
    }

    fn forward(&self, tape: &Tape, x: &Tensor, checkpoint: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for index in 0..self.weights.len() {
            let (weights, p) = (self.weights.clone(), self.p);
            x = if checkpoint {
                let run =
                    move |tape: &Tape, x: &[Tensor]| Net::block(&weights[index], p, tape, &x[0]);
                tape.checkpoint(&[&x], run)?
            } else {
                Net::block(&weights[index], p, tape, &x)?
            };
        }
        ops::sum_all(tape, &ops::mul(tape, &x, &x)?)
    }
}

fn host(t: &Tensor) -> Vec<f32> {
    t.to_vec().unwrap()
}

/// Loss, gradients of the parameters and of the input, when recorded and replayed twice.
fn run(gpu: &Gpu, frozen: &[&str], watch: bool, checkpoint: bool) -> Vec<Vec<f32>> {
    let scale = |name: &str| if frozen.contains(&name) { 0.0 } else { 1.0 };
    let store = ParamStore::new(gpu, Net::specs(4), 3, scale).unwrap();
    let net = Net::new(&store, 0.3);
    let x = Tensor::from_slice(gpu, [24, WIDTH], &Data::new(1).normal(24 * WIDTH, 1.0)).unwrap();
    let state = StepState::new(gpu, 9).unwrap();
    let (recording, (loss, dx)) = gpu
        .record(|| {
            let tape = Tape::training(gpu, state.tensor());
            if watch {
                tape.watch(&x);
            }
            let loss = net.forward(&tape, &x, checkpoint)?;
            // A draw after the last block must not be one of theirs.
            let loss = ops::dropout(&tape, &loss, 0.5)?;
            store.zero_grads();
            let dx = tape.backward_with_inputs(&loss, &[&x])?;
            Ok((loss, dx))
        })
        .unwrap();
    for _ in 0..2 {
        gpu.replay(&recording).unwrap();
    }
    let mut all = vec![host(&loss)];
    all.extend(dx.into_iter().flatten().map(|t| host(&t)));
    for name in ["w0", "w1", "w2", "w3"] {
        let param = store.get(name).unwrap();
        assert_eq!(param.grad().is_none(), frozen.contains(&name));
        all.extend(param.grad().map(host));
    }
    all
}

#[test]
fn checkpoints_change_no_bit() {
    let gpu = gpu();
    for (frozen, watch) in [
        (&[][..], false),
        (&[], true),
        // Blocks below the first trained one need no gradient at all.
        (&["w0", "w1"], false),
        (&["w0", "w1", "w3"], true),
    ] {
        let (plain, checkpointed) = (
            run(&gpu, frozen, watch, false),
            run(&gpu, frozen, watch, true),
        );
        assert_eq!(plain.len(), 1 + usize::from(watch) + 4 - frozen.len());
        assert_eq!(plain.len(), checkpointed.len());
        for (k, (a, b)) in plain.iter().zip(&checkpointed).enumerate() {
            assert!(a.iter().any(|v| *v != 0.0), "{k}: nothing to compare");
            assert_same_bits(&format!("frozen {frozen:?}, watch {watch}: {k}"), a, b);
        }
    }
}

#[test]
fn checkpoints_save_memory() {
    let peak = |checkpoint: bool| {
        let gpu = common::gpu();
        let store = ParamStore::new(&gpu, Net::specs(12), 3, |_| 1.0).unwrap();
        let net = Net::new(&store, 0.1);
        let x = Tensor::zeros(&gpu, [1024, WIDTH]).unwrap();
        let state = StepState::new(&gpu, 9).unwrap();
        let before = gpu.memory().peak;
        let (recording, ()) = gpu
            .record(|| {
                let tape = Tape::training(&gpu, state.tensor());
                let loss = net.forward(&tape, &x, checkpoint)?;
                tape.backward(&loss)
            })
            .unwrap();
        gpu.replay(&recording).unwrap();
        gpu.wait().unwrap();
        gpu.memory().peak - before
    };
    let (plain, checkpointed) = (peak(false), peak(true));
    // Twelve blocks of four activations each, against twelve inputs and one block's.
    assert!(
        2 * checkpointed < plain,
        "{checkpointed} bytes with checkpoints, {plain} without"
    );
}

/// Four batches of eight rows give the update of one batch of 32, as far as the order of sums goes;
/// and each part drops other elements.
#[test]
fn parts_of_a_step_add_up() {
    let gpu = gpu();
    let kind = OptimizerKind::Sgd { weight_decay: 0.0 };
    let values = Data::new(4).normal(32 * WIDTH, 1.0);
    let train = |parts: usize| {
        let store = ParamStore::new(&gpu, Net::specs(2), 3, |_| 1.0).unwrap();
        let net = Net::new(&store, 0.0);
        let optimizer = Optimizer::new(&gpu, kind, &store).unwrap();
        let state = StepState::new(&gpu, 9).unwrap();
        let rows = 32 / parts;
        let x = Tensor::zeros(&gpu, [rows, WIDTH]).unwrap();
        let (backward, ()) = gpu
            .record(|| {
                let tape = Tape::training(&gpu, state.tensor());
                let loss = net.forward(&tape, &x, false)?;
                let loss = ops::scale(&tape, &loss, 1.0 / 32.0)?;
                tape.backward(&loss)
            })
            .unwrap();
        let (update, _) = gpu.record(|| optimizer.step(&store, &state, None)).unwrap();
        for step in 1..=3 {
            for (index, part) in values.chunks(rows * WIDTH).enumerate() {
                x.write(part).unwrap();
                let place = (index as u32, parts as u32);
                state.advance_part(&optimizer, step, 1e-3, place).unwrap();
                gpu.replay(&backward).unwrap();
            }
            gpu.replay(&update).unwrap();
        }
        host(&store.get("w0").unwrap())
    };
    let (whole, parts) = (train(1), train(4));
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() <= 1e-6 * a.abs().max(0.1), "{a} {b}");
    }

    let store = ParamStore::new(&gpu, Net::specs(1), 3, |_| 1.0).unwrap();
    let optimizer = Optimizer::new(&gpu, kind, &store).unwrap();
    let state = StepState::new(&gpu, 9).unwrap();
    let ones = Tensor::from_slice(&gpu, [4096], &[1.0f32; 4096]).unwrap();
    let mask = |step, place| {
        state.advance_part(&optimizer, step, 0.1, place).unwrap();
        let tape = Tape::training(&gpu, state.tensor());
        host(&ops::dropout(&tape, &ones, 0.5).unwrap())
    };
    assert_ne!(mask(1, (0, 2)), mask(1, (1, 2)));
    assert_ne!(mask(1, (1, 2)), mask(2, (0, 2)));
    assert_eq!(
        mask(2, (0, 1)),
        mask(1, (1, 2)),
        "the second draw of the run"
    );
}
