//! Linear layer, softmax and cross entropy in one; losses of logits; losses against targets of the same
//! shape.

use crate::device::Gpu;
use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops;
use crate::reference::loss::{
    TargetLoss, cross_entropy, linear_cross_entropy, smoothed_cross_entropy,
    smoothed_linear_cross_entropy, target_loss,
};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, cast};
use crate::tensor::{Tape, Tensor};

/// A linear layer and the softmax cross entropy of its outputs.
pub struct Loss {
    targets: Vec<i32>,
    weights: Vec<f32>,
    device: [Tensor; 2],
    /// Share of a target that is spread over all.
    pub smoothing: f32,
}

impl Loss {
    /// Rows without target and rows without weight among others.
    pub fn new(gpu: &Gpu, data: &mut Data, rows: usize, vocab: usize) -> Result<Loss> {
        let targets = data.targets(rows, vocab as u32);
        let mut weights = data.uniform(rows, 0.1, 2.0);
        weights.iter_mut().skip(3).step_by(7).for_each(|w| *w = 0.0);
        let words: Vec<u32> = targets.iter().map(|t| *t as u32).collect();
        let device = [
            Tensor::from_slice(gpu, [rows], &words)?,
            Tensor::from_slice(gpu, [rows], &weights)?,
        ];
        Ok(Loss {
            targets,
            weights,
            device,
            smoothing: 0.0,
        })
    }

    fn reference<F: Float>(&self, inputs: &[Vec<F>]) -> (F, [Vec<F>; 3]) {
        let (x, w, b) = (&inputs[0], &inputs[1], inputs.get(2).map(|b| &b[..]));
        let weights = cast::<F, f32>(&self.weights);
        if self.smoothing > 0.0 {
            let e = self.smoothing.into();
            return smoothed_linear_cross_entropy(x, w, b, &self.targets, &weights, e);
        }
        let all = linear_cross_entropy(x, w, b, &self.targets, &weights);
        (all.loss, [all.dx, all.dw, all.dbias])
    }
}

impl Op for Loss {
    fn name(&self) -> String {
        "linear_cross_entropy".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (x, w, b) = (&inputs[0], &inputs[1], inputs.get(2));
        let [targets, weights] = &self.device;
        let (layer, e) = ((w, b), self.smoothing);
        let loss = ops::smoothed_linear_cross_entropy(tape, x, layer, targets, weights, e)?;
        Ok(vec![loss])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![vec![self.reference(inputs).0]]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let scaled = |grad: Vec<F>| grad.into_iter().map(|g| g * dy[0][0]).collect();
        let grads = self.reference(inputs).1.map(scaled);
        grads.into_iter().take(inputs.len()).collect()
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::CROSS_ENTROPY, tolerance::CROSS_ENTROPY_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["matmul_", "sum_cols", "softmax_xent"]
    }
}

/// A loss of outputs against targets of their shape.
pub struct OfTargets {
    loss: TargetLoss,
    targets: Vec<f32>,
    weights: Vec<f32>,
    device: [Tensor; 2],
}

impl OfTargets {
    /// Soft and hard targets, or any numbers; rows without weight among others.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        gpu: &Gpu,
        data: &mut Data,
        loss: TargetLoss,
        [rows, width]: [usize; 2],
    ) -> Result<OfTargets> {
        let targets: Vec<f32> = match loss {
            TargetLoss::BinaryCrossEntropy => {
                let soft = data.uniform(rows * width, 0.0, 1.0).into_iter();
                soft.map(|t| if t < 0.5 { t.round() } else { t }).collect()
            }
            TargetLoss::SquaredError => data.normal(rows * width, 2.0),
        };
        let mut weights = data.uniform(rows, 0.1, 2.0);
        weights.iter_mut().skip(3).step_by(7).for_each(|w| *w = 0.0);
        let device = [
            Tensor::from_slice(gpu, [rows, width], &targets)?,
            Tensor::from_slice(gpu, [rows], &weights)?,
        ];
        Ok(OfTargets {
            loss,
            targets,
            weights,
            device,
        })
    }

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
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["target_loss_bwd"]
    }
}

/// The same loss of each row by itself, of a linear layer or (one input) of logits that exist.
pub struct OfRows(pub Loss);

impl OfRows {
    fn logits<F: Float>(inputs: &[Vec<F>], targets: &[i32], weights: &[F]) -> [Vec<F>; 4] {
        match inputs {
            [logits] => {
                let all = cross_entropy(logits, targets, weights);
                [all.row_loss, all.dlogits, Vec::new(), Vec::new()]
            }
            _ => {
                let b = inputs.get(2).map(|b| &b[..]);
                let all = linear_cross_entropy(&inputs[0], &inputs[1], b, targets, weights);
                [all.row_loss, all.dx, all.dw, all.dbias]
            }
        }
    }
}

impl Op for OfRows {
    fn name(&self) -> String {
        "token_losses".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let targets = &self.0.device[0];
        Ok(vec![match inputs {
            [logits] => ops::token_losses(tape, logits, targets)?,
            _ => {
                let (x, w, b) = (&inputs[0], &inputs[1], inputs.get(2));
                ops::linear_token_losses(tape, x, w, b, targets)?
            }
        }])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let ones = vec![F::ONE; self.0.targets.len()];
        let [losses, ..] = Self::logits(inputs, &self.0.targets, &ones);
        vec![losses]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        // What arrives at a row's loss is its weight.
        let [_, grads @ ..] = Self::logits(inputs, &self.0.targets, &dy[0]);
        grads.into_iter().take(inputs.len()).collect()
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::CROSS_ENTROPY, tolerance::CROSS_ENTROPY_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["matmul_", "sum_cols", "softmax_xent"]
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
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["softmax_xent"]
    }
}

/// The loss of logits against smoothed targets.
pub struct Smoothed {
    pub loss: Loss,
    pub smoothing: f32,
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
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["softmax_xent"]
    }
}
