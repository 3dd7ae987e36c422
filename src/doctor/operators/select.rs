//! Chosen rows and their means.

use crate::device::Gpu;
use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops::{self, RowSelection};
use crate::reference::Float;
use crate::reference::rows::{mean_pool, mean_pool_bwd, select_rows, select_rows_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::tensor::{Tape, Tensor};

/// Rows by their numbers.
pub struct Select {
    selection: RowSelection,
    rows: Vec<u32>,
    width: usize,
}

impl Select {
    /// Every third of `n` rows, the last ones first, a gap among them and room behind them.
    pub fn new(gpu: &Gpu, n: usize, width: usize) -> Result<Select> {
        let mut rows: Vec<u32> = (0..n as u32).rev().step_by(3).collect();
        rows.insert(rows.len() / 2, u32::MAX);
        let selection = RowSelection::empty(gpu, n, rows.len() + 2)?;
        // What an earlier batch chose must not stay.
        selection.write(&[0])?;
        selection.write(&rows)?;
        rows.extend([u32::MAX; 2]);
        Ok(Select {
            selection,
            rows,
            width,
        })
    }
}

impl Op for Select {
    fn name(&self) -> String {
        format!("select_rows to {}", self.rows.len())
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = ops::select_rows(tape, &inputs[0], &self.selection)?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![select_rows(&inputs[0], self.width, &self.rows)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let n = inputs[0].len() / self.width;
        vec![select_rows_bwd(n, self.width, &self.rows, &dy[0])]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        // Its neighbours in the graph multiply and add once each.
        (tolerance::EXACT, tolerance::REDUCE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["gather_rows"]
    }
}

/// Means of the valid steps of each sequence.
pub struct Pool {
    lens: Vec<u32>,
    device: Tensor,
    steps: usize,
    width: usize,
}

impl Pool {
    /// Of so many valid steps each.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(gpu: &Gpu, lens: Vec<u32>, steps: usize, width: usize) -> Result<Pool> {
        Ok(Pool {
            device: Tensor::from_slice(gpu, [lens.len()], &lens)?,
            lens,
            steps,
            width,
        })
    }
}

impl Op for Pool {
    fn name(&self) -> String {
        format!("mean_pool {:?}", self.lens)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = ops::mean_pool(tape, &inputs[0], &self.device)?;
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![mean_pool(&inputs[0], self.steps, self.width, &self.lens)]
    }
    fn backward<F: Float>(&self, _: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![mean_pool_bwd(self.steps, self.width, &self.lens, &dy[0])]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::REDUCE, tolerance::REDUCE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["mean_pool_bwd"]
    }
}
