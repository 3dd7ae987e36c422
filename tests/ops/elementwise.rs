//! Functions of one tensor, arithmetic of two, sums, concatenation.

use melos::doctor::operators::elementwise::{Concat, FUNCTIONS, OfOne, OfTwo, Sum, apart};
use melos::doctor::proof::{Input, Shared, input};
use melos::ops::{self, Binary, Unary};
use melos::tensor::{Tape, Tensor};

use crate::reference::elementwise as literal;
use crate::reference::{Data, ODD_SIZES};
use crate::support::{gpu, prove};

#[test]
fn functions_of_one() {
    let gpu = gpu();
    for f in FUNCTIONS {
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

const ARITHMETIC: [Binary; 4] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];

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
            let [x, y] = inputs
                .each_ref()
                .map(|i| Tensor::from_slice(&gpu, i.dims.clone(), &i.values));
            let result = ops::binary(&Tape::inference(&gpu), op, &x.unwrap(), &y.unwrap()).unwrap();
            assert_eq!(result.dims(), literal::broadcast_shape(a, b));
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

#[test]
fn sums() {
    let gpu = gpu();
    // The last two take two passes.
    for n in [1, 3, 63, 65, 123, 257, 16_385, 40_001] {
        let x = Data::new(n as u64).peaked(n, 1.0, 50.0);
        prove(&Sum, &gpu, &[input(&[n], x)]);
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
