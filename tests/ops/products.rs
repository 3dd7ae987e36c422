//! Matrix products and the linear layer.

use melos::doctor::forms::TRANSPOSITIONS;
use melos::doctor::operators::products::{Linear, Product};
use melos::doctor::proof::{Shared, input};

use crate::reference::Data;
use crate::reference::matmul::MatMul;
use crate::support::{adapters, prove};

fn prove_product(batch: usize, (m, n, k): (usize, usize, usize)) {
    for gpu in adapters() {
        for [transpose_a, transpose_b] in TRANSPOSITIONS {
            let shape = MatMul {
                transpose_a,
                transpose_b,
                ..MatMul::nn(m, n, k).batched(batch)
            };
            let dims = |rows, columns, transposed| {
                let own = if transposed {
                    [columns, rows]
                } else {
                    [rows, columns]
                };
                let lead: &[usize] = if batch > 1 { &[batch] } else { &[] };
                [lead, &own].concat()
            };
            let mut data = Data::new((m + n + k) as u64);
            let a = data.peaked(batch * m * k, 1.0, 20.0);
            let b = data.peaked(batch * k * n, 1.0, 20.0);
            let inputs = [
                input(&dims(m, k, transpose_a), a),
                input(&dims(k, n, transpose_b), b),
            ];
            prove(&Product(shape), &gpu, &inputs);
        }
    }
}

#[test]
fn products_of_odd_sizes() {
    for sizes in [
        (1, 1, 1),
        (1, 257, 123),
        (3, 63, 65),
        (65, 3, 257),
        (123, 65, 1),
        (68, 36, 40),
    ] {
        prove_product(1, sizes);
    }
}

#[test]
fn batched_products() {
    prove_product(3, (5, 63, 33));
    prove_product(2, (65, 3, 17));
}

#[test]
fn a_matrix_times_itself() {
    for gpu in adapters() {
        for [transpose_a, transpose_b] in TRANSPOSITIONS {
            let shape = MatMul {
                transpose_a,
                transpose_b,
                ..MatMul::nn(65, 65, 65)
            };
            let x = input(&[65, 65], Data::new(4).peaked(65 * 65, 1.0, 20.0));
            prove(&Shared(Product(shape)), &gpu, &[x]);
        }
    }
}

#[test]
fn linear_layers() {
    for gpu in adapters() {
        // The last has more rows than one pass of the bias's sum.
        for (outer, inputs, outputs) in [
            (&[1][..], 1, 1),
            (&[3], 65, 123),
            (&[5, 13], 3, 63),
            (&[3, 123], 17, 5),
        ] {
            for bias in [false, true] {
                let rows: usize = outer.iter().product();
                let mut data = Data::new(rows as u64);
                let mut tensor = |dims: &[usize]| {
                    let values = data.peaked(dims.iter().product(), 1.0, 20.0);
                    input(dims, values)
                };
                let mut all = vec![
                    tensor(&[outer, &[inputs]].concat()),
                    tensor(&[outputs, inputs]),
                ];
                all.extend(bias.then(|| tensor(&[outputs])));
                let shape = MatMul::nt(rows, outputs, inputs);
                prove(&Linear(shape), &gpu, &all);
            }
        }
    }
}
