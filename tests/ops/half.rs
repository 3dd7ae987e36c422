//! Activations in f16: every operator that takes them, against the references on inputs rounded to
//! f16, forward and backward, by fours and one by one, on both kinds of adapter. Parameters and
//! their gradients stay f32 and are held to the operators' own tolerances.

use melos::device::Gpu;
use melos::doctor::forms::Case;
use melos::doctor::operators::attention::{Attend, Layout};
use melos::doctor::operators::elementwise::{Concat, OfOne, OfTwo};
use melos::doctor::operators::lora::{self, Adapted};
use melos::doctor::operators::loss::{Loss, OfLogits, OfRows, OfTargets};
use melos::doctor::operators::norm::{Norm, Used};
use melos::doctor::operators::products::Linear;
use melos::doctor::operators::rows::{HalfRows, Rows};
use melos::doctor::operators::select::{Pool, Select};
use melos::doctor::proof::{Input, Op, Rounding, Shared, half, input};
use melos::ops::matmul::Candidate;
use melos::ops::{self, Binary, Unary};
use melos::optim::StepState;
use melos::tensor::{DType, Tape, Tensor};

use crate::reference::attention::Attention;
use crate::reference::lora::Lora;
use crate::reference::loss::TargetLoss;
use crate::reference::matmul::MatMul;
use crate::reference::{Data, assert_near, cast, tolerance};
use crate::support::{gpu, prove, right, unchecked};

/// The adapter and its portable twin, but with f16.
fn both() -> [Gpu; 2] {
    let gpu = gpu();
    let portable = gpu.portable_f16();
    [gpu, portable]
}

fn normal(data: &mut Data, dims: &[usize]) -> Input {
    input(dims, data.normal(dims.iter().product(), 1.0))
}

#[test]
fn functions_and_arithmetic() {
    let gpu = gpu();
    for f in [Unary::Tanh, Unary::GeluTanh, Unary::Gelu, Unary::Relu] {
        for n in [65, 260] {
            let x = normal(&mut Data::new(n as u64), &[n]);
            prove(&OfOne(f), &gpu, &[half(x)]);
        }
    }
    for op in [Binary::Add, Binary::Mul] {
        for (a, b) in [
            (vec![3, 5, 7], vec![5, 7]),
            (vec![5, 64], vec![5, 64]),
            (vec![300, 3], vec![3]),
        ] {
            let mut data = Data::new(7);
            let (x, y) = (normal(&mut data, &a), normal(&mut data, &b));
            let of_two = OfTwo { op, a, b };
            // Two activations; an activation and a parameter.
            prove(&of_two, &gpu, &[half(x.clone()), half(y.clone())]);
            prove(&of_two, &gpu, &[half(x), y]);
        }
    }
}

#[test]
fn slices_and_rows() {
    let gpu = gpu();
    let mut data = Data::new(8);
    let parts = [63, 3].map(|w| half(normal(&mut data, &[5, w])));
    prove(&Concat(vec![63, 3]), &gpu, &parts);
    let x = half(normal(&mut data, &[3, 65]));
    prove(&Shared(Concat(vec![65, 65])), &gpu, &[x]);
    for width in [12, 63] {
        let x = half(normal(&mut data, &[21, width]));
        prove(&Select::new(&gpu, 21, width).unwrap(), &gpu, &[x]);
        let lens = vec![9, 0, 4];
        let op = Pool::new(&gpu, lens, 7, width).unwrap();
        prove(&op, &gpu, &[half(normal(&mut data, &[3, 7, width]))]);
    }
}

#[test]
fn rows_of_a_table() {
    let gpu = gpu();
    for (steps, batch, vocab, width) in [(9, 3, 5, 63), (5, 4, 65, 12)] {
        let mut data = Data::new(3);
        let table = normal(&mut data, &[vocab, width]);
        let rows = Rows::new(&gpu, &mut data, [steps, batch, vocab, width], true);
        let op = HalfRows(rows.unwrap());
        prove(&op, &gpu, std::slice::from_ref(&table));
        // A frozen table of f16 loses nothing.
        let table = half(table);
        let held = Tensor::empty(&gpu, table.dims.clone(), DType::F16).unwrap();
        held.write_rounded(&table.values).unwrap();
        let y = ops::embedding(&Tape::inference(&gpu), &held, &op.0.tokens).unwrap();
        let want = op.forward::<f64>(&[cast(&table.values)]);
        assert_near(
            "f16 table",
            &y.to_vec().unwrap(),
            &want[0],
            tolerance::EXACT,
        );
    }
}

#[test]
fn layer_norms() {
    let gpu = gpu();
    for (residual, p) in [
        (None, 0.0),
        (Some(Used::Y), 0.0),
        (Some(Used::Sum), 0.0),
        (Some(Used::Both), 0.0),
        (Some(Used::Y), 0.1),
        (Some(Used::Sum), 0.1),
        (Some(Used::Both), 0.3),
    ] {
        for (rows, width) in [(5, 63), (9, 260)] {
            let mut data = Data::new(width as u64);
            let count = 1 + usize::from(residual.is_some());
            let mut inputs = vec![normal(&mut data, &[width]), normal(&mut data, &[width])];
            inputs.extend((0..count).map(|_| half(normal(&mut data, &[rows, width]))));
            let op = Norm {
                residual,
                p,
                eps: 1e-5,
            };
            match residual {
                // Nothing but its results is rounded.
                None => prove(&op, &gpu, &inputs),
                // The sum is normalised as it is stored.
                Some(_) => prove(&Rounding(op, tolerance::HALF), &gpu, &inputs),
            }
        }
    }
}

#[test]
fn attention_of_both_kinds() {
    for gpu in &both() {
        for (width, layout, causal, dropout) in [
            (16, Layout::Separate, false, 0.0),
            (5, Layout::Separate, true, 0.25),
            (12, Layout::Packed, true, 0.25),
            (7, Layout::Packed, false, 0.0),
            (80, Layout::Same, false, 0.0),
        ] {
            let shape = Attention {
                causal,
                lens: Some(vec![37, 3]),
                ..Attention::new(2, 37, 2, width)
            };
            let mut attend = Attend::new(gpu, shape, dropout).unwrap();
            attend.layout = layout;
            let inputs: Vec<Input> = attend
                .inputs(|data, n| data.normal(n, 1.0))
                .into_iter()
                .map(half)
                .collect();
            prove(&Rounding(attend, tolerance::HALF), gpu, &inputs);
        }
    }
}

#[test]
fn linear_layers_and_adapters() {
    for gpu in &both() {
        for (rows, i, o) in [(3, 65, 123), (36, 24, 68)] {
            let mut data = Data::new(rows as u64);
            let mut tensor = |dims: &[usize]| normal(&mut data, dims);
            let all = [half(tensor(&[rows, i])), tensor(&[o, i]), tensor(&[o])];
            prove(&Linear(MatMul::nt(rows, o, i)), gpu, &all);
            for in_out in [false, true] {
                let lora = lora::shape((rows, i, o, 3), in_out);
                let lora = Lora {
                    rows: 3..o - 2,
                    ..lora
                };
                let mut all = lora::inputs(&lora, &mut Data::new(5));
                all[0] = half(all[0].clone());
                let op = Rounding(Adapted(lora), tolerance::HALF_CHAIN);
                prove(&op, gpu, &all);
            }
        }
    }
}

#[test]
fn losses() {
    for gpu in &both() {
        for (rows, vocab, width) in [(65, 2, 33), (63, 1003, 12)] {
            let mut data = Data::new(rows as u64);
            let op = Loss::new(gpu, &mut data, rows, vocab).unwrap();
            let x = half(normal(&mut data, &[rows, width]));
            let (w, b) = (
                normal(&mut data, &[vocab, width]),
                normal(&mut data, &[vocab]),
            );
            let inputs = [x, w, b];
            prove(&op, gpu, &inputs);
            prove(&OfRows(op), gpu, &inputs);
        }
    }
    let gpu = gpu();
    let mut data = Data::new(4);
    let op = OfLogits(Loss::new(&gpu, &mut data, 17, 7).unwrap());
    prove(&op, &gpu, &[half(normal(&mut data, &[17, 7]))]);
    let (rows, width) = (9, 5);
    let op = OfTargets::new(&gpu, &mut data, TargetLoss::SquaredError, [rows, width]).unwrap();
    prove(&op, &gpu, &[half(normal(&mut data, &[rows, width]))]);
}

/// Every form of the product with every choice of what is f16, on a device without bounds checks.
#[test]
fn products_of_mixed_operands() {
    let gpu = unchecked();
    let mut forms = vec![
        Candidate::Direct { wg: 16 },
        Candidate::Tile { bm: 64, bn: 64 },
    ];
    if gpu.caps().broadcasts() {
        forms.push(Candidate::Subgroup { rows: 32, wg: 16 });
        forms.push(Candidate::Image { rows: 16 });
    }
    for form in forms {
        let sizes = match form {
            // Lines of whole copies, and of texels only.
            Candidate::Image { .. } => vec![(128, 60, 256), (36, 20, 44)],
            _ => vec![(3, 63, 123), (40, 136, 24)],
        };
        for (m, n, k) in sizes {
            for choice in 0..8 {
                let mut case = Case::plain(m, n, k).transposed([true, true]);
                case.accumulate = true;
                case.half = [0, 1, 2].map(|bit| choice >> bit & 1 == 1);
                right(case.prove(&gpu, form), &gpu);
            }
        }
    }
}

/// Dropout keeps in f16 what it keeps in f32, and what f16 cannot hold becomes infinite.
#[test]
fn the_same_elements_fall() {
    let gpu = gpu();
    let state = StepState::new(&gpu, 5).unwrap();
    let one = Tensor::from_slice(&gpu, [1], &[1.0f32]).unwrap();
    for n in [63, 260] {
        let dropped = |tape: Tape, dtype| {
            let x = Tensor::empty(&gpu, [n], dtype).unwrap();
            x.write_rounded(&vec![1.0; n]).unwrap();
            tape.watch(&x);
            let y = ops::dropout(&tape, &x, 0.5).unwrap();
            let sum = ops::sum_all(&tape, &ops::cast(&tape, &y, DType::F32).unwrap()).unwrap();
            let grads = tape.backward_with_inputs(&sum, &[&x]).unwrap();
            let dx = grads[0].as_ref().unwrap().to_f32_vec().unwrap();
            (y.to_f32_vec().unwrap(), dx)
        };
        let whole = dropped(Tape::training(&gpu, state.tensor()), DType::F32);
        let mixed = Tape::mixed(&gpu, state.tensor(), &one).unwrap();
        assert_eq!(dropped(mixed, DType::F16), whole);
        assert!(whole.0.contains(&0.0) && whole.0.contains(&2.0));
    }
    let x = Tensor::from_slice(&gpu, [3], &[1e6f32, -7e4, 65_504.0]).unwrap();
    let y = ops::cast(&Tape::inference(&gpu), &x, DType::F16).unwrap();
    let limits = [f32::INFINITY, f32::NEG_INFINITY, 65_504.0];
    assert_eq!(y.to_f32_vec().unwrap(), limits);
}

#[test]
fn a_tape_without_f16_is_refused() {
    let gpu = gpu().portable();
    let state = StepState::new(&gpu, 5).unwrap();
    let one = Tensor::from_slice(&gpu, [1], &[1.0f32]).unwrap();
    let error = Tape::mixed(&gpu, state.tensor(), &one)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("needs 16-bit floats") && error.contains(&gpu.caps().name),
        "{error}"
    );
}
