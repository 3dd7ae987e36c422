//! Linear layer, softmax and cross entropy in one; losses against targets of the same shape.

use melos::device::Gpu;
use melos::doctor::operators::loss::{Loss, OfLogits, OfRows, OfTargets, Smoothed};
use melos::doctor::proof::input;
use melos::ops;
use melos::tensor::{Tape, Tensor};

use crate::reference::Data;
use crate::reference::loss::TargetLoss;
use crate::support::{adapters, gpu, prove};

fn prove_loss(gpu: &Gpu, (rows, vocab, width): (usize, usize, usize), bias: bool, peak: f64) {
    let mut data = Data::new((rows + vocab) as u64);
    let op = Loss::new(gpu, &mut data, rows, vocab).unwrap();
    let mut inputs = vec![
        input(&[rows, width], data.peaked(rows * width, 1.0, peak)),
        input(&[vocab, width], data.peaked(vocab * width, 0.5, 3.0)),
    ];
    inputs.extend(bias.then(|| input(&[vocab], data.normal(vocab, 1.0))));
    prove(&op, gpu, &inputs);
    prove(&OfRows(op), gpu, &inputs);
}

#[test]
fn losses_of_odd_sizes() {
    for gpu in adapters() {
        for (sizes, bias) in [
            ((1, 1, 1), true),
            ((1, 3, 63), false),
            ((65, 2, 33), true),
            ((3, 257, 65), true),
            ((63, 123, 1), false),
            ((123, 1003, 5), true),
            // Rows of logits longer than the vocabulary, and of sizes that images have.
            ((128, 1100, 64), true),
        ] {
            prove_loss(&gpu, sizes, bias, 10.0);
        }
    }
}

#[test]
fn smoothed_losses() {
    for gpu in adapters() {
        for (rows, vocab, width, smoothing) in [(65, 12, 33, 0.1), (3, 63, 5, 0.9)] {
            let mut data = Data::new((rows + vocab) as u64);
            let mut op = Loss::new(&gpu, &mut data, rows, vocab).unwrap();
            op.smoothing = smoothing;
            let inputs = [
                input(&[rows, width], data.peaked(rows * width, 1.0, 5.0)),
                input(&[vocab, width], data.peaked(vocab * width, 0.5, 3.0)),
            ];
            prove(&op, &gpu, &inputs);
        }
    }
}

#[test]
fn a_loss_in_several_chunks() {
    // 128 rows of 65,003 logits are what a chunk holds: three, and the last has one row.
    prove_loss(&gpu(), (257, 65_003, 3), true, 3.0);
}

#[test]
fn rows_that_do_not_count_cost_nothing() {
    let gpu = gpu();
    let mut data = Data::new(2);
    let (rows, vocab, width) = (7, 11, 3);
    let mut tensor = |dims: [usize; 2]| {
        let values = data.normal(dims[0] * dims[1], 1.0);
        let grad = Tensor::from_slice(&gpu, dims, &vec![0.0f32; values.len()]).unwrap();
        Tensor::from_slice(&gpu, dims, &values)
            .unwrap()
            .with_grad(grad)
    };
    let (x, w) = (tensor([rows, width]), tensor([vocab, width]));
    let state = melos::optim::StepState::new(&gpu, 1).unwrap();
    let ignored = (vec![u32::MAX; rows], vec![1.0f32; rows]);
    let weightless = (vec![3u32; rows], vec![0.0f32; rows]);
    for (targets, weights) in [ignored, weightless] {
        let targets = Tensor::from_slice(&gpu, [rows], &targets).unwrap();
        let weights = Tensor::from_slice(&gpu, [rows], &weights).unwrap();
        let tape = Tape::training(&gpu, state.tensor());
        let loss = ops::linear_cross_entropy(&tape, &x, &w, None, &targets, &weights).unwrap();
        tape.backward(&loss).unwrap();
        assert_eq!(loss.to_vec::<f32>().unwrap(), [0.0]);
        for input in [&x, &w] {
            let grad = input.grad().unwrap().to_vec::<f32>().unwrap();
            assert!(grad.iter().all(|g| *g == 0.0), "{grad:?}");
        }
    }
}

#[test]
fn several_labels_and_regression() {
    let gpu = gpu();
    for loss in [TargetLoss::BinaryCrossEntropy, TargetLoss::SquaredError] {
        for (rows, width) in [(1, 1), (16, 1), (65, 3), (9, 123), (123, 65), (3, 257)] {
            let mut data = Data::new(rows as u64);
            // Peaks far beyond where exp overflows.
            let z = data.peaked(rows * width, 3.0, 60.0);
            let op = OfTargets::new(&gpu, &mut data, loss, [rows, width]).unwrap();
            prove(&op, &gpu, &[input(&[rows, width], z)]);
        }
    }
}

#[test]
fn of_logits() {
    let gpu = gpu();
    for (rows, classes) in [(1, 1), (3, 2), (65, 7), (17, 64)] {
        let mut data = Data::new(rows as u64);
        let op = OfLogits(Loss::new(&gpu, &mut data, rows, classes).unwrap());
        let logits = data.peaked(rows * classes, 2.0, 30.0);
        let logits = [input(&[rows, classes], logits)];
        prove(&op, &gpu, &logits);
        prove(&OfRows(op.0), &gpu, &logits);
    }
}

#[test]
fn of_smoothed_targets() {
    let gpu = gpu();
    for (rows, classes, smoothing) in [(3, 2, 0.1), (65, 7, 0.3), (17, 64, 0.9)] {
        let mut data = Data::new(rows as u64);
        let loss = Loss::new(&gpu, &mut data, rows, classes).unwrap();
        let op = Smoothed { loss, smoothing };
        let logits = data.peaked(rows * classes, 2.0, 30.0);
        prove(&op, &gpu, &[input(&[rows, classes], logits)]);
    }
}
