//! Slices: one place of every sequence, some columns of every row.

use melos::doctor::operators::layout::Slice;
use melos::doctor::proof::input;

use crate::reference::Data;
use crate::support::{gpu, prove};

#[test]
fn places_of_sequences() {
    let gpu = gpu();
    for (rows, steps, width, index) in [(1, 1, 1, 0), (3, 5, 7, 0), (3, 5, 7, 4), (65, 2, 63, 1)] {
        let x = Data::new(9).normal(rows * steps * width, 1.0);
        let slice = Slice::column(steps, width, index);
        prove(&slice, &gpu, &[input(&[rows, steps, width], x)]);
    }
}

#[test]
fn columns_of_rows() {
    let gpu = gpu();
    for (rows, row, first, width) in [(1, 1, 0, 1), (5, 63, 0, 3), (5, 63, 60, 3), (65, 12, 4, 4)] {
        let x = Data::new(9).normal(rows * row, 1.0);
        let slice = Slice::columns(row, first, width);
        prove(&slice, &gpu, &[input(&[rows, row], x)]);
    }
}
