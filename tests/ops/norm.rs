//! Layer normalisation, with dropout and residual before it.

use melos::error::Result;
use melos::kernels::philox::{drop_threshold, philox4x32};
use melos::ops;
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

use crate::reference::elementwise::dropout;
use crate::reference::norm::{layer_norm, layer_norm_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, ODD_SIZES, assert_same_bits};
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
    /// Probability with which elements of x are dropped; with a residual.
    pub p: f32,
    pub eps: f32,
}

/// Gamma and beta as fixed numbers: for inputs that are x and its residual alone.
struct Frozen {
    weights: [Input; 2],
    device: [Tensor; 2],
    op: Norm,
}

impl Norm {
    /// What the kernels keep, with the seed, the step and the layer of the tests' graphs.
    fn dropped<F: Float>(&self, x: &[F]) -> Vec<F> {
        let word = |e: usize| philox4x32([e as u32 / 4, 0, 1, 0], [5, 0])[e % 4];
        let keep: Vec<bool> = (0..x.len())
            .map(|e| word(e) >= drop_threshold(self.p))
            .collect();
        dropout(x, &keep, self.p.into())
    }

    fn sum<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<F> {
        match inputs.get(3) {
            Some(residual) => self
                .dropped(&inputs[2])
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
        format!("layer_norm {:?}, dropout {}", self.residual, self.p)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (gamma, beta, x) = (&inputs[0], &inputs[1], &inputs[2]);
        let n = match inputs.get(3) {
            Some(r) if self.p > 0.0 => {
                ops::dropout_layer_norm(tape, x, self.p, r, gamma, beta, self.eps)?
            }
            residual => ops::layer_norm(tape, x, residual, gamma, beta, self.eps)?,
        };
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
        let mut grads = vec![own.dgamma, own.dbeta];
        grads.push(match self.residual {
            Some(_) => self.dropped(&dx),
            None => dx.clone(),
        });
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
                p: 0.0,
                eps: 1e-5,
            };
            let count = 1 + usize::from(residual.is_some());
            prove(&op, &gpu, &inputs(&mut data, &[*rows, width], count));
            if residual.is_some() {
                let op = Norm { p: 0.3, ..op };
                prove(&op, &gpu, &inputs(&mut data, &[*rows, width], count));
            }
        }
    }
}

#[test]
fn wide_elements_and_both_kinds_of_adapter() {
    for (_, gpu) in adapters() {
        for dims in [vec![4], vec![2, 3, 768], vec![300, 260]] {
            for (residual, p) in [
                (None, 0.0),
                (Some(Used::Both), 0.0),
                (Some(Used::Y), 0.1),
                (Some(Used::Both), 0.5),
            ] {
                let mut data = Data::new(dims.len() as u64);
                let op = Norm {
                    residual,
                    p,
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
        p: 0.0,
        eps: 1e-5,
    };
    let mut all = inputs(&mut Data::new(7), &[9, 123], 1);
    all[2].values.iter_mut().for_each(|x| *x += 4000.0);
    prove(&op, &gpu, &all);
}

#[test]
fn its_own_residual_and_frozen_weights() {
    let gpu = gpu();
    let uses = [Used::Y, Used::Sum, Used::Both];
    for (used, p) in uses.into_iter().flat_map(|u| [(u, 0.0), (u, 0.4)]) {
        let mut all = inputs(&mut Data::new(11), &[5, 65], 2);
        let x = all.split_off(2);
        let weights = [all[0].clone(), all[1].clone()];
        let op = Norm {
            residual: Some(used),
            p,
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

/// At p = 1/2 the product by 2 is exact, so that nothing can be rounded differently.
#[test]
fn as_dropout_and_layer_norm_apart() {
    for (_, gpu) in adapters() {
        for width in [123, 260] {
            let mut data = Data::new(width as u64);
            let mut tensor = |dims: &[usize]| {
                Tensor::from_slice(&gpu, dims, &data.normal(dims.iter().product(), 1.0))
            };
            let (gamma, beta) = (tensor(&[width]).unwrap(), tensor(&[width]).unwrap());
            let (x, residual) = (tensor(&[9, width]).unwrap(), tensor(&[9, width]).unwrap());
            let coef = tensor(&[9, width]).unwrap();
            let state = StepState::new(&gpu, 7).unwrap();
            let run = |fused: bool| {
                let tape = Tape::training(&gpu, state.tensor());
                for input in [&x, &residual] {
                    tape.watch(input);
                }
                let normed = if fused {
                    ops::dropout_layer_norm(&tape, &x, 0.5, &residual, &gamma, &beta, 1e-5)
                } else {
                    let x = ops::dropout(&tape, &x, 0.5).unwrap();
                    ops::layer_norm(&tape, &x, Some(&residual), &gamma, &beta, 1e-5)
                };
                let y = normed.unwrap().y;
                let loss = ops::sum_all(&tape, &ops::mul(&tape, &y, &coef).unwrap()).unwrap();
                let grads = tape.backward_with_inputs(&loss, &[&x, &residual]).unwrap();
                let all = std::iter::once(y).chain(grads.into_iter().flatten());
                all.map(|t| t.to_vec::<f32>().unwrap()).collect::<Vec<_>>()
            };
            let (fused, apart) = (run(true), run(false));
            assert_eq!(fused.len(), 3);
            for (fused, apart) in fused.iter().zip(&apart) {
                assert_same_bits("fused", fused, apart);
            }
        }
    }
}
