//! Matrix products and the linear layer.

use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops;
use crate::reference::Float;
use crate::reference::matmul::{MatMul, matmul, matmul_bwd, matmul_epilogue};
use crate::reference::tolerance::{self, Tolerance};
use crate::tensor::{Tape, Tensor};

/// op(A) · op(B)
pub struct Product(pub MatMul);

impl Op for Product {
    fn name(&self) -> String {
        let letter = |transposed| if transposed { 'T' } else { 'N' };
        let (a, b) = (letter(self.0.transpose_a), letter(self.0.transpose_b));
        format!("matmul {a}{b}")
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (ta, tb) = (self.0.transpose_a, self.0.transpose_b);
        Ok(vec![ops::matmul(tape, &inputs[0], &inputs[1], ta, tb)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![matmul(&self.0, &inputs[0], &inputs[1])]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let grads = matmul_bwd(&self.0, &inputs[0], &inputs[1], &dy[0]);
        vec![grads.da, grads.db]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["matmul_"]
    }
}

/// x · Wᵀ + b
pub struct Linear(pub MatMul);

impl Op for Linear {
    fn name(&self) -> String {
        "linear".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let bias = inputs.get(2);
        Ok(vec![ops::linear(tape, &inputs[0], &inputs[1], bias)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let bias = inputs.get(2).map(|b| &b[..]);
        let y = matmul_epilogue(&self.0, &inputs[0], &inputs[1], bias, None);
        vec![y]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let grads = matmul_bwd(&self.0, &inputs[0], &inputs[1], &dy[0]);
        let mut all = vec![grads.da, grads.db, grads.dbias];
        all.truncate(inputs.len());
        all
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["matmul_", "sum_cols"]
    }
}
