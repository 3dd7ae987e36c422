//! Layer normalisation, with dropout and residual before it.

use melos::doctor::operators::norm::{Frozen, Norm, Rms, Used, inputs};
use melos::doctor::proof::Shared;
use melos::ops;
use melos::optim::StepState;
use melos::tensor::{Tape, Tensor};

use crate::reference::{Data, ODD_SIZES, assert_same_bits};
use crate::support::{adapters, gpu, prove};

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
    for gpu in adapters() {
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
    for gpu in adapters() {
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

#[test]
fn root_mean_squares_of_every_width() {
    for gpu in adapters() {
        for (rows, width) in ODD_SIZES.iter().rev().zip(ODD_SIZES) {
            for residual in RESIDUALS {
                let mut all = inputs(&mut Data::new(width as u64), &[*rows, width], 2);
                // No beta, and a residual only where there is one.
                all.remove(1);
                all.truncate(2 + usize::from(residual.is_some()));
                let op = Rms {
                    residual,
                    offset: (width % 2) as f32,
                    eps: 1e-5,
                };
                prove(&op, &gpu, &all);
            }
        }
    }
}

#[test]
fn a_row_of_zeros_has_a_root_mean_square() {
    let gpu = gpu();
    let op = Rms {
        residual: None,
        offset: 1.0,
        eps: 1e-6,
    };
    let mut all = inputs(&mut Data::new(3), &[2, 12], 1);
    all.remove(1);
    all[1].values[..12].fill(0.0);
    prove(&op, &gpu, &all);
}
