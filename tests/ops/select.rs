//! Chosen rows and their means.

use melos::device::Gpu;
use melos::error::Result;
use melos::ops::{self, RowSelection};
use melos::tensor::{Tape, Tensor};

use crate::reference::rows::{mean_pool, mean_pool_bwd, select_rows, select_rows_bwd};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, ODD_SIZES};
use crate::support::{Op, gpu, input, prove};

pub struct Select {
    selection: RowSelection,
    rows: Vec<u32>,
    width: usize,
}

impl Select {
    /// Every third of `n` rows, the last ones first, a gap among them and room behind them.
    pub fn new(gpu: &Gpu, n: usize, width: usize) -> Select {
        let mut rows: Vec<u32> = (0..n as u32).rev().step_by(3).collect();
        rows.insert(rows.len() / 2, u32::MAX);
        let selection = RowSelection::empty(gpu, n, rows.len() + 2).unwrap();
        // What an earlier batch chose must not stay.
        selection.write(&[0]).unwrap();
        selection.write(&rows).unwrap();
        rows.extend([u32::MAX; 2]);
        assert_eq!(selection.len(), rows.len());
        Select {
            selection,
            rows,
            width,
        }
    }
}

impl Op for Select {
    fn name(&self) -> String {
        format!("select_rows to {}", self.rows.len())
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = ops::select_rows(tape, &inputs[0], &self.selection)?;
        assert_eq!(y.dims(), [self.rows.len(), self.width]);
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
}

#[test]
fn chosen_rows() {
    let gpu = gpu();
    for (n, width) in ODD_SIZES.iter().rev().zip(ODD_SIZES) {
        let x = Data::new(*n as u64).peaked(n * width, 1.0, 20.0);
        prove(
            &Select::new(&gpu, *n, width),
            &gpu,
            &[input(&[*n, width], x)],
        );
    }
    // Rows of a batch as they come, without a reshape.
    let x = Data::new(1).normal(3 * 7 * 12, 1.0);
    prove(&Select::new(&gpu, 21, 12), &gpu, &[input(&[3, 7, 12], x)]);
}

pub struct Pool {
    pub lens: Vec<u32>,
    pub device: Tensor,
    pub steps: usize,
    pub width: usize,
}

impl Op for Pool {
    fn name(&self) -> String {
        format!("mean_pool {:?}", self.lens)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = ops::mean_pool(tape, &inputs[0], &self.device)?;
        assert_eq!(y.dims(), [self.lens.len(), self.width]);
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
}

#[test]
fn means_of_what_is_valid() {
    let gpu = gpu();
    for (batch, steps, width) in [
        (1, 1, 1),
        (3, 65, 63),
        (5, 3, 257),
        (4, 123, 65),
        (6, 9, 260),
    ] {
        let mut data = Data::new(steps as u64);
        let mut lens = data.lengths(batch, steps as u32);
        if batch > 3 {
            // Nothing valid, and more than there is.
            (lens[1], lens[2]) = (0, steps as u32 + 9);
        }
        let device = Tensor::from_slice(&gpu, [batch], &lens).unwrap();
        let op = Pool {
            lens,
            device,
            steps,
            width,
        };
        let x = data.peaked(batch * steps * width, 1.0, 20.0);
        prove(&op, &gpu, &[input(&[batch, steps, width], x)]);
    }
}
