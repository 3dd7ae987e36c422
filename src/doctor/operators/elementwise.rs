//! Functions of one tensor, arithmetic of two, sums, concatenation.

use crate::doctor::proof::{Input, Op, input};
use crate::error::Result;
use crate::ops::{self, Binary, Unary};
use crate::reference::elementwise as literal;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::tensor::{Tape, Tensor};

/// All functions of one number.
pub const FUNCTIONS: [Unary; 10] = [
    Unary::Relu,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::GeluTanh,
    Unary::Gelu,
    Unary::Exp,
    Unary::Log,
    Unary::Sqrt,
    Unary::Square,
    Unary::Affine {
        alpha: -1.75,
        beta: 0.375,
    },
];

/// f(x)
pub struct OfOne(pub Unary);

impl OfOne {
    /// (value, slope)
    fn of<F: Float>(&self, x: F) -> (F, F) {
        let known = |f: literal::Unary| (f.value(x), f.slope(x));
        match self.0 {
            Unary::Relu => known(literal::Unary::Relu),
            Unary::Tanh => known(literal::Unary::Tanh),
            Unary::Sigmoid => known(literal::Unary::Sigmoid),
            Unary::GeluTanh => known(literal::Unary::GeluTanh),
            Unary::Exp => known(literal::Unary::Exp),
            Unary::Log => known(literal::Unary::Ln),
            Unary::Sqrt => known(literal::Unary::Sqrt),
            Unary::Square => known(literal::Unary::Square),
            Unary::Affine { alpha, beta } => {
                let alpha = F::of(alpha.into());
                (alpha * x + F::of(beta.into()), alpha)
            }
            Unary::Gelu => literal::gelu(x),
        }
    }
}

impl Op for OfOne {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::unary(tape, &inputs[0], self.0)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![inputs[0].iter().map(|x| self.of(*x).0).collect()]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let both = inputs[0].iter().zip(&dy[0]);
        vec![both.map(|(x, dy)| self.of(*x).1 * *dy).collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["unary_bwd"]
    }
}

/// a ∘ b of these shapes, broadcast.
pub struct OfTwo {
    pub op: Binary,
    pub a: Vec<usize>,
    pub b: Vec<usize>,
}

impl OfTwo {
    fn literal(&self) -> literal::Binary {
        match self.op {
            Binary::Add => literal::Binary::Add,
            Binary::Sub => literal::Binary::Sub,
            Binary::Mul => literal::Binary::Mul,
            Binary::Div => literal::Binary::Div,
        }
    }
}

impl Op for OfTwo {
    fn name(&self) -> String {
        format!("{:?}", self.op)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = ops::binary(tape, self.op, &inputs[0], &inputs[1])?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let (a, b) = ((&inputs[0][..], &self.a[..]), (&inputs[1][..], &self.b[..]));
        vec![literal::binary(self.literal(), a, b)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let (a, b) = ((&inputs[0][..], &self.a[..]), (&inputs[1][..], &self.b[..]));
        let (da, db) = literal::binary_bwd(self.literal(), a, b, &dy[0]);
        vec![da, db]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["binary_bwd", "sum_cols"]
    }
}

/// Peaked, and at least 0.5 away from 0: it may divide.
pub fn apart(data: &mut Data, dims: &[usize]) -> Input {
    let values = data.peaked(dims.iter().product(), 1.0, 10.0);
    let away = values.into_iter().map(|v| v + 0.5f32.copysign(v));
    input(dims, away.collect())
}

/// The sum of all.
pub struct Sum;

impl Op for Sum {
    fn name(&self) -> String {
        "sum_all".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::sum_all(tape, &inputs[0])?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let shape = [inputs[0].len()];
        vec![literal::reduce(
            literal::Reduce::Sum,
            &inputs[0],
            &shape,
            None,
        )]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![vec![dy[0][0]; inputs[0].len()]]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::REDUCE, tolerance::REDUCE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["copy_strided", "fill"]
    }
}

/// Widths of the parts; the first axes are those of the inputs.
pub struct Concat(pub Vec<usize>);

impl Op for Concat {
    fn name(&self) -> String {
        "concat".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::concat(tape, inputs)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let rows = inputs[0].len() / self.0[0];
        let parts = || inputs.iter().zip(&self.0);
        let row = |r: usize| parts().flat_map(move |(x, w)| x[r * w..][..*w].to_vec());
        vec![(0..rows).flat_map(row).collect()]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let total: usize = self.0.iter().sum();
        let mut grads = vec![vec![]; inputs.len()];
        for row in dy[0].chunks(total) {
            let mut start = 0;
            for (grad, width) in grads.iter_mut().zip(&self.0) {
                grad.extend_from_slice(&row[start..start + width]);
                start += width;
            }
        }
        grads
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        // Backward: the other gradients of the graph are added.
        (tolerance::EXACT, tolerance::REDUCE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["copy_strided"]
    }
}
