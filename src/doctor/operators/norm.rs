//! Layer normalisation, with dropout and residual before it, and root-mean-square normalisation.

use crate::doctor::operators::dropout::kept;
use crate::doctor::proof::{Input, Op, input};
use crate::error::Result;
use crate::ops;
use crate::reference::elementwise::dropout;
use crate::reference::norm::{layer_norm, layer_norm_bwd, rms_norm, rms_norm_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, cast};
use crate::tensor::{Tape, Tensor};

/// What goes on to be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Used {
    Y,
    Sum,
    Both,
}

impl Used {
    /// What goes on, of a norm's two results; without a residual there is one.
    fn of<T>(used: Option<Used>, y: T, sum: T) -> Vec<T> {
        match used {
            None | Some(Used::Y) => vec![y],
            Some(Used::Sum) => vec![sum],
            Some(Used::Both) => vec![y, sum],
        }
    }

    /// The gradients of y and of the sum, one of which may be `zeros`.
    fn upstream<'a, F>(
        used: Option<Used>,
        dy: &'a [Vec<F>],
        zeros: &'a Vec<F>,
    ) -> (&'a Vec<F>, &'a Vec<F>) {
        match used {
            None | Some(Used::Y) => (&dy[0], zeros),
            Some(Used::Sum) => (zeros, &dy[0]),
            Some(Used::Both) => (&dy[0], &dy[1]),
        }
    }
}

/// Inputs gamma, beta, x and, unless `used` is none, a residual.
pub struct Norm {
    pub residual: Option<Used>,
    /// Probability with which elements of x are dropped; with a residual.
    pub p: f32,
    pub eps: f32,
}

/// Gamma and beta as fixed numbers: for inputs that are x and its residual alone.
pub struct Frozen {
    pub weights: [Input; 2],
    pub device: [Tensor; 2],
    pub op: Norm,
}

impl Norm {
    fn dropped<F: Float>(&self, x: &[F]) -> Vec<F> {
        dropout(x, &kept(x.len(), self.p), self.p.into())
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
        Ok(Used::of(self.residual, n.y, n.sum))
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let sum = self.sum(inputs);
        let y = layer_norm(&sum, &inputs[0], &inputs[1], self.eps.into());
        Used::of(self.residual, y, sum)
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let zeros = vec![F::ZERO; inputs[2].len()];
        let (dy, dsum) = Used::upstream(self.residual, dy, &zeros);
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
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["layer_norm_bwd", "sum_cols"]
    }
}

impl Frozen {
    fn all<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let weights = self.weights.iter().map(|w| cast(&w.values));
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
    fn backward_kernels(&self) -> &'static [&'static str] {
        self.op.backward_kernels()
    }
}

/// Root-mean-square normalisation of inputs gamma, x and, unless `residual` is none, a residual.
pub struct Rms {
    pub residual: Option<Used>,
    pub offset: f32,
    pub eps: f32,
}

impl Rms {
    fn sum<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<F> {
        match inputs.get(2) {
            Some(residual) => {
                let both = inputs[1].iter().zip(residual);
                both.map(|(a, b)| *a + *b).collect()
            }
            None => inputs[1].clone(),
        }
    }
}

impl Op for Rms {
    fn name(&self) -> String {
        format!("rms_norm {:?}, offset {}", self.residual, self.offset)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (gamma, x) = (&inputs[0], &inputs[1]);
        let n = ops::rms_norm(tape, x, inputs.get(2), gamma, self.offset, self.eps)?;
        Ok(Used::of(self.residual, n.y, n.sum))
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let sum = self.sum(inputs);
        let y = rms_norm(&sum, &inputs[0], self.offset.into(), self.eps.into());
        Used::of(self.residual, y, sum)
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let zeros = vec![F::ZERO; inputs[1].len()];
        let (dy, dsum) = Used::upstream(self.residual, dy, &zeros);
        let (offset, eps) = (self.offset.into(), self.eps.into());
        let (dx, dgamma) = rms_norm_bwd(&self.sum(inputs), &inputs[0], offset, eps, dy);
        let dx: Vec<F> = dx.iter().zip(dsum).map(|(a, b)| *a + *b).collect();
        let mut grads = vec![dgamma, dx.clone()];
        grads.extend(self.residual.map(|_| dx));
        grads
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::LAYER_NORM, tolerance::LAYER_NORM_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["rms_norm_bwd", "sum_cols"]
    }
}

/// Gamma, beta and `count` tensors of these dims.
pub fn inputs(data: &mut Data, dims: &[usize], count: usize) -> Vec<Input> {
    let width = dims[dims.len() - 1];
    let mut all = vec![
        input(&[width], data.normal(width, 1.0)),
        input(&[width], data.normal(width, 1.0)),
    ];
    all.extend((0..count).map(|_| input(dims, data.peaked(dims.iter().product(), 1.0, 20.0))));
    all
}
