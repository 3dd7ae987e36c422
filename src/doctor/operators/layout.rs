//! Slices: one place of every sequence, some columns of every row.

use crate::doctor::proof::Op;
use crate::error::Result;
use crate::ops;
use crate::reference::Float;
use crate::reference::tolerance::{self, Tolerance};
use crate::tensor::{Tape, Tensor};

/// Runs of `width` elements, `row` apart, from `first` on.
pub struct Slice {
    name: &'static str,
    run: fn(&Tape, &Tensor, usize, usize) -> Result<Tensor>,
    first: usize,
    width: usize,
    row: usize,
    /// What `run` is given: a place in the sequence, or a first column and a number of columns.
    given: (usize, usize),
}

impl Slice {
    /// Columns `first..first + width` of rows of `row`.
    pub fn columns(row: usize, first: usize, width: usize) -> Slice {
        Slice {
            name: "columns",
            run: ops::columns,
            first,
            width,
            row,
            given: (first, width),
        }
    }

    /// Place `index` of sequences of `steps` rows of `width`.
    pub fn column(steps: usize, width: usize, index: usize) -> Slice {
        Slice {
            name: "column",
            run: |tape, x, index, _| ops::column(tape, x, index),
            first: index * width,
            width,
            row: steps * width,
            given: (index, 0),
        }
    }
}

impl Op for Slice {
    fn name(&self) -> String {
        format!("{} {:?}", self.name, self.given)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![(self.run)(
            tape,
            &inputs[0],
            self.given.0,
            self.given.1,
        )?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let range = self.first..self.first + self.width;
        let rows = inputs[0].chunks(self.row);
        vec![rows.flat_map(|row| row[range.clone()].to_vec()).collect()]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let mut dx = vec![F::ZERO; inputs[0].len()];
        for (row, dy) in dx.chunks_mut(self.row).zip(dy[0].chunks(self.width)) {
            row[self.first..self.first + self.width].copy_from_slice(dy);
        }
        vec![dx]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::EXACT, tolerance::ELEMENTWISE_BWD)
    }
    fn backward_kernels(&self) -> &'static [&'static str] {
        &["copy_strided", "fill"]
    }
}
