//! Functions of one tensor, arithmetic of two, sums, concatenation.

use melos::error::Result;
use melos::ops::{self, Binary, Unary};
use melos::tensor::{Tape, Tensor};

use crate::reference::elementwise as literal;
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Data, Float, ODD_SIZES};
use crate::support::{Input, Op, Shared, gpu, input, prove};

pub struct OfOne(pub Unary);

/// Φ(x) by its series near 0 and its continued fraction beyond.
fn normal_cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 4.0 {
        let (mut term, mut sum) = (x, x);
        for k in 1..200 {
            term *= x * x / f64::from(2 * k + 1);
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..80).rev().fold(0.0, |f, k| f64::from(k) / (x.abs() + f));
    let tail = density / (x.abs() + fraction);
    if x < 0.0 { tail } else { 1.0 - tail }
}

impl OfOne {
    /// (value, slope)
    fn of<F: Float>(&self, x: F) -> (F, F) {
        let known = |f: literal::Unary| (f.value(x), f.slope(x));
        match self.0 {
            Unary::Relu => known(literal::Unary::Relu),
            Unary::Tanh => known(literal::Unary::Tanh),
            Unary::Sigmoid => known(literal::Unary::Sigmoid),
            Unary::GeluTanh => known(literal::Unary::GeluTanh),
            Unary::Exp => known(literal::Unary::Exp),
            Unary::Log => known(literal::Unary::Ln),
            Unary::Sqrt => known(literal::Unary::Sqrt),
            Unary::Square => known(literal::Unary::Square),
            Unary::Affine { alpha, beta } => {
                let alpha = F::of(alpha.into());
                (alpha * x + F::of(beta.into()), alpha)
            }
            // x·Φ(x); libm has no erf here, so f32 gets f64's value rounded.
            Unary::Gelu => {
                let x = x.f64();
                let (below, root) = (normal_cdf(x), std::f64::consts::TAU.sqrt());
                let slope = below + x * (-0.5 * x * x).exp() / root;
                (F::of(x * below), F::of(slope))
            }
        }
    }
}

impl Op for OfOne {
    fn name(&self) -> String {
        format!("{:?}", self.0)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::unary(tape, &inputs[0], self.0)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![inputs[0].iter().map(|x| self.of(*x).0).collect()]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let both = inputs[0].iter().zip(&dy[0]);
        vec![both.map(|(x, dy)| self.of(*x).1 * *dy).collect()]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
}

#[test]
fn functions_of_one() {
    let gpu = gpu();
    let affine = Unary::Affine {
        alpha: -1.75,
        beta: 0.375,
    };
    for f in [
        Unary::Relu,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::GeluTanh,
        Unary::Gelu,
        Unary::Exp,
        Unary::Log,
        Unary::Sqrt,
        Unary::Square,
        affine,
    ] {
        for n in ODD_SIZES.into_iter().chain([4, 260]) {
            let mut data = Data::new(n as u64);
            let x = match f {
                Unary::Log | Unary::Sqrt => data.uniform(n, 0.02, 30.0),
                Unary::Exp => data.peaked(n, 1.0, 3.0),
                _ => {
                    let mut x = data.peaked(n, 1.5, 20.0);
                    x[n / 2] = 0.0; // Kinks have a convention, and it is tested.
                    x
                }
            };
            prove(&OfOne(f), &gpu, &[input(&[n], x)]);
        }
    }
}

pub struct OfTwo {
    pub op: Binary,
    pub a: Vec<usize>,
    pub b: Vec<usize>,
}

impl OfTwo {
    fn literal(&self) -> literal::Binary {
        match self.op {
            Binary::Add => literal::Binary::Add,
            Binary::Sub => literal::Binary::Sub,
            Binary::Mul => literal::Binary::Mul,
            Binary::Div => literal::Binary::Div,
        }
    }
}

impl Op for OfTwo {
    fn name(&self) -> String {
        format!("{:?}", self.op)
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = ops::binary(tape, self.op, &inputs[0], &inputs[1])?;
        assert_eq!(y.dims(), literal::broadcast_shape(&self.a, &self.b));
        Ok(vec![y])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let (a, b) = ((&inputs[0][..], &self.a[..]), (&inputs[1][..], &self.b[..]));
        vec![literal::binary(self.literal(), a, b)]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let (a, b) = ((&inputs[0][..], &self.a[..]), (&inputs[1][..], &self.b[..]));
        let (da, db) = literal::binary_bwd(self.literal(), a, b, &dy[0]);
        vec![da, db]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::ELEMENTWISE, tolerance::ELEMENTWISE_BWD)
    }
}

const ARITHMETIC: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

/// Peaked, and at least 0.5 away from 0: it may divide.
fn apart(data: &mut Data, dims: &[usize]) -> Input {
    let values = data.peaked(dims.iter().product(), 1.0, 10.0);
    let away = values.into_iter().map(|v| v + 0.5f32.copysign(v));
    input(dims, away.collect())
}

#[test]
fn arithmetic_broadcasts() {
    let gpu = gpu();
    let shapes: [(&[usize], &[usize]); 11] = [
        (&[1], &[1]),
        (&[257], &[257]),
        (&[3, 65], &[65]),
        (&[63], &[3, 63]),
        (&[1], &[123]),
        (&[65, 1], &[1, 257]),
        (&[3, 1, 5], &[1, 63, 1]),
        (&[2, 3, 4, 5], &[1]),
        (&[2, 1, 3, 1], &[5, 1, 7]),
        (&[300, 3], &[3]),
        (&[1, 1, 1], &[3, 123, 3]),
    ];
    for op in ARITHMETIC {
        for (a, b) in shapes {
            let mut data = Data::new((a.len() * 7 + b.len()) as u64);
            let inputs = [apart(&mut data, a), apart(&mut data, b)];
            let (a, b) = (a.to_vec(), b.to_vec());
            prove(&OfTwo { op, a, b }, &gpu, &inputs);
        }
    }
}

#[test]
fn arithmetic_of_a_tensor_with_itself() {
    let gpu = gpu();
    for op in ARITHMETIC {
        for n in [1, 65, 257] {
            let (a, b) = (vec![n], vec![n]);
            let x = apart(&mut Data::new(3), &[n]);
            prove(&Shared(OfTwo { op, a, b }), &gpu, &[x]);
        }
    }
}

struct Sum;

impl Op for Sum {
    fn name(&self) -> String {
        "sum_all".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::sum_all(tape, &inputs[0])?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let shape = [inputs[0].len()];
        vec![literal::reduce(
            literal::Reduce::Sum,
            &inputs[0],
            &shape,
            None,
        )]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        vec![vec![dy[0][0]; inputs[0].len()]]
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        (tolerance::REDUCE, tolerance::REDUCE_BWD)
    }
}

#[test]
fn sums() {
    let gpu = gpu();
    // The last two take two passes.
    for n in [1, 3, 63, 65, 123, 257, 16_385, 40_001] {
        let x = Data::new(n as u64).peaked(n, 1.0, 50.0);
        prove(&Sum, &gpu, &[input(&[n], x)]);
    }
}

/// Widths of the parts; the first axes are those of the inputs.
pub struct Concat(pub Vec<usize>);

impl Op for Concat {
    fn name(&self) -> String {
        "concat".into()
    }
    fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ops::concat(tape, inputs)?])
    }
    fn forward<F: Float>(&self, inputs: &[Vec<F>]) -> Vec<Vec<F>> {
        let rows = inputs[0].len() / self.0[0];
        let parts = || inputs.iter().zip(&self.0);
        let row = |r: usize| parts().flat_map(move |(x, w)| x[r * w..][..*w].to_vec());
        vec![(0..rows).flat_map(row).collect()]
    }
    fn backward<F: Float>(&self, inputs: &[Vec<F>], dy: &[Vec<F>]) -> Vec<Vec<F>> {
        let total: usize = self.0.iter().sum();
        let mut grads = vec![vec![]; inputs.len()];
        for row in dy[0].chunks(total) {
            let mut start = 0;
            for (grad, width) in grads.iter_mut().zip(&self.0) {
                grad.extend_from_slice(&row[start..start + width]);
                start += width;
            }
        }
        grads
    }
    fn tolerance(&self) -> (Tolerance, Tolerance) {
        // Backward: the other gradients of the graph are added.
        (tolerance::EXACT, tolerance::REDUCE_BWD)
    }
}

#[test]
fn parts_are_joined() {
    let gpu = gpu();
    let mut data = Data::new(8);
    for outer in [&[1][..], &[3], &[5, 13]] {
        for widths in [vec![5], vec![1, 63, 3], vec![65, 257]] {
            let rows: usize = outer.iter().product();
            let mut part = |w: &usize| input(&[outer, &[*w]].concat(), data.normal(rows * w, 1.0));
            let inputs: Vec<Input> = widths.iter().map(&mut part).collect();
            prove(&Concat(widths), &gpu, &inputs);
        }
    }
    let x = input(&[3, 65], data.normal(195, 1.0));
    prove(&Shared(Concat(vec![65, 65])), &gpu, &[x]);
}
