//! Slices: one place of every sequence, some columns of every row.

use melos::error::Result;
use melos::ops;
use melos::tensor::{Tape, Tensor};

use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::support::{Op, gpu, input, prove};

/// Runs of `width` elements, `row` apart, from `first` on.
struct Slice {
    name: &'static str,
    run: fn(&Tape, &Tensor, usize, usize) -> Result<Tensor>,
    first: usize,
    width: usize,
    row: usize,
    /// What `run` is given: a place in the sequence, or a first column and a number of columns.
    given: (usize, usize),
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
}

#[test]
fn places_of_sequences() {
    let gpu = gpu();
    for (rows, steps, width, index) in [(1, 1, 1, 0), (3, 5, 7, 0), (3, 5, 7, 4), (65, 2, 63, 1)] {
        let x = Data::new(9).normal(rows * steps * width, 1.0);
        let slice = Slice {
            name: "column",
            run: |tape, x, index, _| ops::column(tape, x, index),
            first: index * width,
            width,
            row: steps * width,
            given: (index, 0),
        };
        prove(&slice, &gpu, &[input(&[rows, steps, width], x)]);
    }
}

#[test]
fn columns_of_rows() {
    let gpu = gpu();
    for (rows, row, first, width) in [(1, 1, 0, 1), (5, 63, 0, 3), (5, 63, 60, 3), (65, 12, 4, 4)] {
        let x = Data::new(9).normal(rows * row, 1.0);
        let slice = Slice {
            name: "columns",
            run: ops::columns,
            first,
            width,
            row,
            given: (first, width),
        };
        prove(&slice, &gpu, &[input(&[rows, row], x)]);
    }
}
