//! Chosen rows and their means.

use melos::doctor::operators::select::{Pool, Select};
use melos::doctor::proof::input;

use crate::reference::{Data, ODD_SIZES};
use crate::support::{gpu, prove};

#[test]
fn chosen_rows() {
    let gpu = gpu();
    for (n, width) in ODD_SIZES.iter().rev().zip(ODD_SIZES) {
        let x = Data::new(*n as u64).peaked(n * width, 1.0, 20.0);
        prove(
            &Select::new(&gpu, *n, width).unwrap(),
            &gpu,
            &[input(&[*n, width], x)],
        );
    }
    // Rows of a batch as they come, without a reshape.
    let x = Data::new(1).normal(3 * 7 * 12, 1.0);
    prove(
        &Select::new(&gpu, 21, 12).unwrap(),
        &gpu,
        &[input(&[3, 7, 12], x)],
    );
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
        let op = Pool::new(&gpu, lens, steps, width).unwrap();
        let x = data.peaked(batch * steps * width, 1.0, 20.0);
        prove(&op, &gpu, &[input(&[batch, steps, width], x)]);
    }
}
