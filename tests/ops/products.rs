//! Matrix products and the linear layer.

use melos::error::Result;
use melos::ops;
use melos::tensor::{Tape, Tensor};

use crate::reference::matmul::{MatMul, matmul, matmul_bwd, matmul_epilogue};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float};
use crate::support::{Op, Shared, adapters, input, prove};

pub struct Product(pub &'static str, pub MatMul);

impl Op for Product {
    fn name(&self) -> String {
        let letter = |transposed| if transposed { 'T' } else { 'N' };
        let (a, b) = (letter(self.1.transpose_a), letter(self.1.transpose_b));
        format!("{}matmul {a}{b}", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (ta, tb) = (self.1.transpose_a, self.1.transpose_b);
        Ok(vec![ops::matmul(tape, &inputs[0], &inputs[1], ta, tb)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![matmul(&self.1, &inputs[0], &inputs[1])]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let grads = matmul_bwd(&self.1, &inputs[0], &inputs[1], &dy[0]);
        vec![grads.da, grads.db]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
}

const TRANSPOSITIONS: [(bool, bool); 4] =
    [(false, false), (false, true), (true, false), (true, true)];

fn prove_product(batch: usize, (m, n, k): (usize, usize, usize)) {
    for (adapter, gpu) in adapters() {
        for (transpose_a, transpose_b) in TRANSPOSITIONS {
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
            prove(&Product(adapter, shape), &gpu, &inputs);
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
    for (adapter, gpu) in adapters() {
        for (transpose_a, transpose_b) in TRANSPOSITIONS {
            let shape = MatMul {
                transpose_a,
                transpose_b,
                ..MatMul::nn(65, 65, 65)
            };
            let x = input(&[65, 65], Data::new(4).peaked(65 * 65, 1.0, 20.0));
            prove(&Shared(Product(adapter, shape)), &gpu, &[x]);
        }
    }
}

pub struct Linear(pub &'static str, pub MatMul);

impl Op for Linear {
    fn name(&self) -> String {
        format!("{}linear", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let bias = inputs.get(2);
        Ok(vec![ops::linear(tape, &inputs[0], &inputs[1], bias)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let bias = inputs.get(2).map(|b| &b[..]);
        let y = matmul_epilogue(&self.1, &inputs[0], &inputs[1], bias, None);
        vec![y]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let grads = matmul_bwd(&self.1, &inputs[0], &inputs[1], &dy[0]);
        let mut all = vec![grads.da, grads.db, grads.dbias];
        all.truncate(inputs.len());
        all
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::MATMUL, tolerance::MATMUL_BWD)
    }
}

#[test]
fn linear_layers() {
    for (adapter, gpu) in adapters() {
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
                prove(&Linear(adapter, shape), &gpu, &all);
            }
        }
    }
}
