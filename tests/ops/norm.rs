//! Layer normalisation.

use melos::error::Result;
use melos::ops;
use melos::tensor::{Tape, Tensor};

use crate::reference::norm::{layer_norm, layer_norm_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, ODD_SIZES};
use crate::support::{Input, Op, Shared, adapters, gpu, input, prove};

/// What goes on to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Used {
    Y,
    Sum,
    Both,
}

/// Inputs gamma, beta, x and, unless `used` is none, a residual.
pub struct Norm {
    pub residual: Option<Used>,
    pub eps: f32,
}

/// Gamma and beta as fixed numbers: for inputs that are x and its residual alone.
struct Frozen {
    weights: [Input; 2],
    device: [Tensor; 2],
    op: Norm,
}

impl Norm {
    fn sum<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<F> {
        match inputs.get(3) {
            Some(residual) => inputs[2]
                .iter()
                .zip(residual)
                .map(|(a, b)| *a + *b)
                .collect(),
            None => inputs[2].clone(),
        }
    }
}

impl Op for Norm {
    fn name(&self) -> String {
        format!("layer_norm {:?}", self.residual)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (gamma, beta, x) = (&inputs[0], &inputs[1], &inputs[2]);
        let n = ops::layer_norm(tape, x, inputs.get(3), gamma, beta, self.eps)?;
        assert_eq!(n.y.dims(), x.dims());
        assert_eq!(n.sum.dims(), x.dims());
        Ok(match self.residual {
            None | Some(Used::Y) => vec![n.y],
            Some(Used::Sum) => vec![n.sum],
            Some(Used::Both) => vec![n.y, n.sum],
        })
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let sum = self.sum(inputs);
        let y = layer_norm(&sum, &inputs[0], &inputs[1], self.eps.into());
        match self.residual {
            None | Some(Used::Y) => vec![y],
            Some(Used::Sum) => vec![sum],
            Some(Used::Both) => vec![y, sum],
        }
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let zeros = vec![F::ZERO; inputs[2].len()];
        let (dy, dsum) = match self.residual {
            None | Some(Used::Y) => (&dy[0], &zeros),
            Some(Used::Sum) => (&zeros, &dy[0]),
            Some(Used::Both) => (&dy[0], &dy[1]),
        };
        let own = layer_norm_bwd(&self.sum(inputs), &inputs[0], self.eps.into(), dy);
        let dx: Vec<F> = own.dx.iter().zip(dsum).map(|(a, b)| *a + *b).collect();
        let mut grads = vec![own.dgamma, own.dbeta, dx.clone()];
        grads.extend(self.residual.map(|_| dx));
        grads
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::LAYER_NORM, tolerance::LAYER_NORM_BWD)
    }
}

impl Frozen {
    fn all<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let weights = self
            .weights
            .iter()
            .map(|w| crate::reference::cast(&w.values));
        weights.chain(inputs.iter().cloned()).collect()
    }
}

impl Op for Frozen {
    fn name(&self) -> String {
        self.op.name()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.op.run(tape, &[&self.device, inputs].concat())
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        self.op.forward(&self.all(inputs))
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.op.backward(&self.all(inputs), dy).split_off(2)
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        self.op.tolerance()
    }
}

fn inputs(data: &mut Data, dims: &[usize], count: usize) -> Vec<Input> {
    let width = *dims.last().unwrap();
    let mut all = vec![
        input(&[width], data.normal(width, 1.0)),
        input(&[width], data.normal(width, 1.0)),
    ];
    all.extend((0..count).map(|_| input(dims, data.peaked(dims.iter().product(), 1.0, 20.0))));
    all
}

const RESIDUALS: [Option<Used>; 4] = [None, Some(Used::Y), Some(Used::Sum), Some(Used::Both)];

#[test]
fn every_width() {
    let gpu = gpu();
    for (rows, width) in ODD_SIZES.iter().rev().zip(ODD_SIZES) {
        for residual in RESIDUALS {
            let mut data = Data::new(width as u64);
            let op = Norm {
                residual,
                eps: 1e-5,
            };
            let count = 1 + usize::from(residual.is_some());
            prove(&op, &gpu, &inputs(&mut data, &[*rows, width], count));
        }
    }
}

#[test]
fn wide_elements_and_both_kinds_of_adapter() {
    for (_, gpu) in adapters() {
        for dims in [vec![4], vec![2, 3, 768], vec![300, 260]] {
            for residual in [None, Some(Used::Both)] {
                let mut data = Data::new(dims.len() as u64);
                let op = Norm {
                    residual,
                    eps: 1e-12,
                };
                let count = 1 + usize::from(residual.is_some());
                prove(&op, &gpu, &inputs(&mut data, &dims, count));
            }
        }
    }
}

#[test]
fn a_mean_far_from_zero_leaves_the_variance() {
    // Σx² − (Σx)²/C would have lost every digit of a variance of 1 beside a mean of 4,000.
    let gpu = gpu();
    let op = Norm {
        residual: None,
        eps: 1e-5,
    };
    let mut all = inputs(&mut Data::new(7), &[9, 123], 1);
    all[2].values.iter_mut().for_each(|x| *x += 4000.0);
    prove(&op, &gpu, &all);
}

#[test]
fn its_own_residual_and_frozen_weights() {
    let gpu = gpu();
    for used in [Used::Y, Used::Sum, Used::Both] {
        let mut all = inputs(&mut Data::new(11), &[5, 65], 2);
        let x = all.split_off(2);
        let weights = [all[0].clone(), all[1].clone()];
        let op = Norm {
            residual: Some(used),
            eps: 1e-5,
        };
        let device = weights
            .clone()
            .map(|w| Tensor::from_slice(&gpu, w.dims, &w.values).unwrap());
        let op = Frozen {
            weights,
            device,
            op,
        };
        prove(&op, &gpu, &x);
        prove(&Shared(op), &gpu, &x[..1]);
    }
}
