//! The low-rank adapted linear layer.

use crate::device::Gpu;
use crate::doctor::proof::{Input, Op, input};
use crate::error::Result;
use crate::ops::{self, LoraWeights, WeightLayout};
use crate::optim::StepState;
use crate::reference::lora::Lora;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::tensor::{Tape, Tensor};

/// The layer and its update.
pub struct Adapted(pub Lora);

/// How W lies.
pub fn layout(lora: &Lora) -> WeightLayout {
    match lora.in_out {
        true => WeightLayout::InOut,
        false => WeightLayout::OutIn,
    }
}

/// The update of these matrices.
pub fn weights<'a>(lora: &Lora, a: &'a Tensor, b: &'a Tensor) -> LoraWeights<'a> {
    LoraWeights {
        a,
        b,
        scale: lora.scale as f32,
        dropout: lora.keep.as_ref().map_or(0.0, |(_, p)| *p as f32),
        rows: (lora.rows.len() < lora.o).then(|| lora.rows.clone()),
    }
}

impl Op for Adapted {
    fn name(&self) -> String {
        let Lora { in_out, rows, .. } = &self.0;
        format!("lora, in_out {in_out}, rows {rows:?}")
    }
    fn run(&self, tape: &Tape, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let lora = [weights(&self.0, &t[3], &t[4])];
        let layout = layout(&self.0);
        let y = ops::lora_linear(tape, &t[0], &t[1], Some(&t[2]), layout, &lora)?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![self.0.forward(inputs)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        self.0.backward(inputs, &dy[0])
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["matmul_", "sum_cols", "dropout_bwd"]
    }
}

/// Inputs for it: x, W, bias, A, B.
pub fn inputs(lora: &Lora, data: &mut Data) -> Vec<Input> {
    let Lora { n, i, o, r, .. } = *lora;
    let w = layout(lora).shape(o, i);
    let sizes = [&[n, i][..], &w, &[o], &[r, i], &[lora.rows.len(), r]];
    let tensor = |dims: &[usize]| input(dims, data.peaked(dims.iter().product(), 1.0, 10.0));
    sizes.map(tensor).to_vec()
}

/// Of all outputs, without dropout.
pub fn shape((n, i, o, r): (usize, usize, usize, usize), in_out: bool) -> Lora {
    Lora {
        n,
        i,
        o,
        r,
        in_out,
        scale: 1.5,
        rows: 0..o,
        keep: None,
    }
}

/// The mask that the first draw of a tape on `Graph`'s step state gives: with W = 0 and A = B = 1,
/// y = drop(x).
pub fn first_mask(gpu: &Gpu, n: usize, i: usize, p: f32) -> Result<Vec<bool>> {
    let state = StepState::new(gpu, 5)?;
    let tape = Tape::training(gpu, state.tensor());
    let eye: Vec<f32> = (0..i * i).map(|at| (at % (i + 1) == 0).into()).collect();
    let eye = Tensor::from_slice(gpu, [i, i], &eye)?;
    let zero = Tensor::zeros(gpu, [i, i])?;
    let ones = Tensor::from_slice(gpu, [n, i], &vec![1.0f32; n * i])?;
    let lora = LoraWeights {
        a: &eye,
        b: &eye,
        scale: 1.0,
        dropout: p,
        rows: None,
    };
    let y = ops::lora_linear(&tape, &ones, &zero, None, WeightLayout::OutIn, &[lora])?;
    let y = y.to_vec::<f32>()?;
    Ok(y.iter().map(|y| *y != 0.0).collect())
}
