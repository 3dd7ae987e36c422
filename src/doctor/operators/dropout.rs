//! Dropout, and noise.

use crate::doctor::proof::Op;
use crate::error::Result;
use crate::kernels::philox::{drop_threshold, philox4x32};
use crate::ops;
use crate::reference::Float;
use crate::reference::elementwise::dropout;
use crate::reference::tolerance::{self, Tolerance};
use crate::tensor::{Tape, Tensor};

/// With this probability.
pub struct Dropout(pub f32);

/// Noise of this size.
pub struct Noise(pub f32);

impl Op for Noise {
    fn name(&self) -> String {
        format!("noise {}", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::noise(tape, &inputs[0], self.0)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let drawn = |e: usize| {
            let word = philox4x32([e as u32 / 4, 0, 1, 0], [5, 0])[e % 4];
            F::of(f64::from(self.0)) * F::of(f64::from(word >> 8) / 8_388_608.0 - 1.0)
        };
        let x = inputs[0].iter().enumerate();
        vec![x.map(|(e, x)| *x + drawn(e)).collect()]
    }
    fn backward<F: Float>(&self, _: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![dy[0].clone()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::DROPOUT, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["axpy"]
    }
}

/// Which of `n` values stay, with the seed, the step and the layer of a graph.
pub fn kept(n: usize, p: f32) -> Vec<bool> {
    let word = |e: usize| philox4x32([e as u32 / 4, 0, 1, 0], [5, 0])[e % 4];
    (0..n).map(|e| word(e) >= drop_threshold(p)).collect()
}

impl Op for Dropout {
    fn name(&self) -> String {
        format!("dropout {}", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::dropout(tape, &inputs[0], self.0)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let keep = kept(inputs[0].len(), self.0);
        vec![dropout(&inputs[0], &keep, self.0.into())]
    }
    fn backward<F: Float>(&self, _: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.forward(dy)
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::DROPOUT, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["dropout_bwd"]
    }
}
