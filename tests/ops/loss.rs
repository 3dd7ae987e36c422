//! Linear layer, softmax and cross entropy in one; losses against targets of the same shape.

use melos::device::Gpu;
use melos::error::Result;
use melos::ops;
use melos::tensor::{Tape, Tensor};

use crate::reference::loss::{
    TargetLoss, cross_entropy, linear_cross_entropy, smoothed_cross_entropy, target_loss,
};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, cast};
use crate::support::{Op, adapters, gpu, input, prove};

pub struct Loss {
    targets: Vec<i32>,
    weights: Vec<f32>,
    device: [Tensor; 2],
}

impl Loss {
    /// Rows without target and rows without weight among others.
    pub fn new(gpu: &Gpu, data: &mut Data, rows: usize, vocab: usize) -> Loss {
        let targets = data.targets(rows, vocab as u32);
        let mut weights = data.uniform(rows, 0.1, 2.0);
        weights.iter_mut().skip(3).step_by(7).for_each(|w| *w = 0.0);
        let words: Vec<u32> = targets.iter().map(|t| *t as u32).collect();
        let device = [
            Tensor::from_slice(gpu, [rows], &words).unwrap(),
            Tensor::from_slice(gpu, [rows], &weights).unwrap(),
        ];
        Loss {
            targets,
            weights,
            device,
        }
    }
}

impl Op for Loss {
    fn name(&self) -> String {
        "linear_cross_entropy".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (x, w, b) = (&inputs[0], &inputs[1], inputs.get(2));
        let [targets, weights] = &self.device;
        Ok(vec![ops::linear_cross_entropy(
            tape, x, w, b, targets, weights,
        )?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let b = inputs.get(2).map(|b| &b[..]);
        let weights = cast::<F, f32>(&self.weights);
        let all = linear_cross_entropy(&inputs[0], &inputs[1], b, &self.targets, &weights);
        vec![vec![all.loss]]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let b = inputs.get(2).map(|b| &b[..]);
        let weights = cast::<F, f32>(&self.weights);
        let all = linear_cross_entropy(&inputs[0], &inputs[1], b, &self.targets, &weights);
        let scaled = |grad: Vec<F>| grad.into_iter().map(|g| g * dy[0][0]).collect();
        let grads = [all.dx, all.dw, all.dbias].map(scaled);
        grads.into_iter().take(inputs.len()).collect()
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::CROSS_ENTROPY, tolerance::CROSS_ENTROPY_BWD)
    }
}

fn prove_loss(gpu: &Gpu, (rows, vocab, width): (usize, usize, usize), bias: bool, peak: f64) {
    let mut data = Data::new((rows + vocab) as u64);
    let op = Loss::new(gpu, &mut data, rows, vocab);
    let mut inputs = vec![
        input(&[rows, width], data.peaked(rows * width, 1.0, peak)),
        input(&[vocab, width], data.peaked(vocab * width, 0.5, 3.0)),
    ];
    inputs.extend(bias.then(|| input(&[vocab], data.normal(vocab, 1.0))));
    prove(&op, gpu, &inputs);
}

#[test]
fn losses_of_odd_sizes() {
    for (_, gpu) in adapters() {
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

pub struct OfTargets {
    pub loss: TargetLoss,
    pub targets: Vec<f32>,
    pub weights: Vec<f32>,
    pub device: [Tensor; 2],
}

impl OfTargets {
    fn all<F: Float>(&self, inputs: &[Vec<F>]) -> (F, Vec<F>) {
        let (targets, weights) = (cast(&self.targets), cast(&self.weights));
        target_loss::<F>(self.loss, &inputs[0], &targets, &weights)
    }
}

impl Op for OfTargets {
    fn name(&self) -> String {
        format!("{:?}", self.loss)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [targets, weights] = &self.device;
        let run = match self.loss {
            TargetLoss::BinaryCrossEntropy => ops::binary_cross_entropy,
            TargetLoss::SquaredError => ops::squared_error,
        };
        Ok(vec![run(tape, &inputs[0], targets, weights)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![vec![self.all(inputs).0]]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let grad = self.all(inputs).1.into_iter();
        vec![grad.map(|g| g * dy[0][0]).collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::CROSS_ENTROPY, tolerance::ELEMENTWISE_BWD)
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
            let targets = match loss {
                TargetLoss::BinaryCrossEntropy => {
                    let soft = data.uniform(rows * width, 0.0, 1.0).into_iter();
                    soft.map(|t| if t < 0.5 { t.round() } else { t }).collect()
                }
                TargetLoss::SquaredError => data.normal(rows * width, 2.0),
            };
            let mut weights = data.uniform(rows, 0.1, 2.0);
            weights.iter_mut().skip(3).step_by(7).for_each(|w| *w = 0.0);
            let device = [
                Tensor::from_slice(&gpu, [rows, width], &targets).unwrap(),
                Tensor::from_slice(&gpu, [rows], &weights).unwrap(),
            ];
            let op = OfTargets {
                loss,
                targets,
                weights,
                device,
            };
            prove(&op, &gpu, &[input(&[rows, width], z)]);
        }
    }
}

/// The loss of logits that exist.
pub struct OfLogits(pub Loss);

impl Op for OfLogits {
    fn name(&self) -> String {
        "cross_entropy".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [targets, weights] = &self.0.device;
        Ok(vec![ops::cross_entropy(
            tape, &inputs[0], targets, weights,
        )?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let weights = cast::<F, f32>(&self.0.weights);
        let all = cross_entropy(&inputs[0], &self.0.targets, &weights);
        vec![vec![all.loss]]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let weights = cast::<F, f32>(&self.0.weights);
        let all = cross_entropy(&inputs[0], &self.0.targets, &weights);
        vec![all.dlogits.into_iter().map(|g| g * dy[0][0]).collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::CROSS_ENTROPY, tolerance::CROSS_ENTROPY_BWD)
    }
}

#[test]
fn of_logits() {
    let gpu = gpu();
    for (rows, classes) in [(1, 1), (3, 2), (65, 7), (17, 64)] {
        let mut data = Data::new(rows as u64);
        let op = OfLogits(Loss::new(&gpu, &mut data, rows, classes));
        let logits = data.peaked(rows * classes, 2.0, 30.0);
        prove(&op, &gpu, &[input(&[rows, classes], logits)]);
    }
}

/// The loss of logits against smoothed targets.
struct Smoothed {
    loss: Loss,
    smoothing: f32,
}

impl Smoothed {
    fn reference<F: Float>(&self, logits: &[F]) -> (F, Vec<F>) {
        let weights = cast::<F, f32>(&self.loss.weights);
        let e = f64::from(self.smoothing);
        smoothed_cross_entropy(logits, &self.loss.targets, &weights, e)
    }
}

impl Op for Smoothed {
    fn name(&self) -> String {
        format!("cross_entropy, smoothed by {}", self.smoothing)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [targets, weights] = &self.loss.device;
        let e = self.smoothing;
        let loss = ops::smoothed_cross_entropy(tape, &inputs[0], targets, weights, e)?;
        Ok(vec![loss])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![vec![self.reference(&inputs[0]).0]]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let (_, dlogits) = self.reference(&inputs[0]);
        vec![dlogits.into_iter().map(|g| g * dy[0][0]).collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::CROSS_ENTROPY, tolerance::CROSS_ENTROPY_BWD)
    }
}

#[test]
fn of_smoothed_targets() {
    let gpu = gpu();
    for (rows, classes, smoothing) in [(3, 2, 0.1), (65, 7, 0.3), (17, 64, 0.9)] {
        let mut data = Data::new(rows as u64);
        let loss = Loss::new(&gpu, &mut data, rows, classes);
        let op = Smoothed { loss, smoothing };
        let logits = data.peaked(rows * classes, 2.0, 30.0);
        prove(&op, &gpu, &[input(&[rows, classes], logits)]);
    }
}
