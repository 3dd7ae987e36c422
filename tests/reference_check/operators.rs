//! Operators one by one.

use crate::reference::Data;
use crate::reference::elementwise::{
    Binary, Reduce, Unary, binary, binary_bwd, broadcast_shape, dropout, reduce, reduce_bwd, unary,
    unary_bwd,
};
use crate::reference::embedding::{embedding, embedding_bwd};
use crate::reference::lora::Lora;
use crate::reference::loss::{TargetLoss, cross_entropy, target_loss};
use crate::reference::matmul::{MatMul, matmul, matmul_bwd, matmul_epilogue};
use crate::reference::rows::{mean_pool, mean_pool_bwd, select_rows, select_rows_bwd};
use crate::{assert_gradient, differences, dot, normal};

#[test]
fn unary_gradients() {
    // Away from the kinks at 0; positive where ln and sqrt need it.
    let points = [-3.0, -1.1, -0.4, 0.3, 0.9, 2.5];
    for op in Unary::ALL {
        let x: Vec<f64> = match op {
            Unary::Ln | Unary::Sqrt => points.iter().map(|x: &f64| x.abs()).collect(),
            _ => points.to_vec(),
        };
        let dy = normal(&mut Data::new(1), x.len());
        let want = differences(&x, |x| dot(&unary(op, x), &dy));
        assert_gradient(&format!("{op:?}"), &unary_bwd(op, &x, &dy), &want);
    }
}

#[test]
fn sigmoid_and_cross_entropy_do_not_overflow() {
    let y: Vec<f32> = unary(Unary::Sigmoid, &[-1e4, 0.0, 100.0, 1e4]);
    assert_eq!(y, [0.0, 0.5, 1.0, 1.0]);
    let ce = cross_entropy::<f32>(&[1e4, -1e4, 0.0], &[1], &[1.0]);
    assert_eq!(ce.loss, 2e4);
    assert_eq!(ce.dlogits, [1.0, -1.0, 0.0]);
}

#[test]
fn binary_gradients_with_broadcast() {
    let mut data = Data::new(2);
    let cases: [(&[usize], &[usize]); 5] = [
        (&[3, 4], &[3, 4]),
        (&[3, 4], &[4]),
        (&[3, 1], &[1, 4]),
        (&[2, 3, 4], &[3, 1]),
        (&[], &[2, 3]),
    ];
    for op in Binary::ALL {
        for (a_shape, b_shape) in cases {
            let a = normal(&mut data, a_shape.iter().product());
            // Away from 0, for division.
            let b: Vec<f64> = normal(&mut data, b_shape.iter().product())
                .into_iter()
                .map(|b| b + 1.0f64.copysign(b))
                .collect();
            let dy = normal(
                &mut data,
                broadcast_shape(a_shape, b_shape).iter().product(),
            );
            let (da, db) = binary_bwd(op, (&a, a_shape), (&b, b_shape), &dy);
            let value = |a: &[f64], b: &[f64]| dot(&binary(op, (a, a_shape), (b, b_shape)), &dy);
            let name = format!("{op:?} {a_shape:?} {b_shape:?}");
            let near = |da: &[f64], want: Vec<f64>| {
                // max and min may choose one side everywhere: then the other has no gradient.
                if want.iter().any(|w| w.abs() > 1e-3) {
                    assert_gradient(&name, da, &want);
                } else {
                    assert!(matches!(op, Binary::Max | Binary::Min), "{name}");
                }
            };
            near(&da, differences(&a, |a| value(a, &b)));
            near(&db, differences(&b, |b| value(&a, b)));
        }
    }
    let sum = binary(
        Binary::Sub,
        (&[1.0, 2.0], &[2, 1]),
        (&[10.0, 20.0, 30.0], &[3]),
    );
    assert_eq!(sum, [-9.0, -19.0, -29.0, -8.0, -18.0, -28.0]);
}

#[test]
fn reductions_and_their_gradients() {
    let x = [1.0, 5.0, 2.0, -4.0, 3.0, 0.5];
    assert_eq!(reduce(Reduce::Sum, &x, &[2, 3], Some(0)), [-3.0, 8.0, 2.5]);
    assert_eq!(reduce(Reduce::Max, &x, &[2, 3], Some(1)), [5.0, 3.0]);
    assert_eq!(reduce(Reduce::Mean, &x, &[2, 3], None), [1.25]);
    assert_eq!(
        reduce(Reduce::SumOfSquares, &x, &[2, 3], Some(1)),
        [30.0, 25.25]
    );
    let shape = [3, 4, 5];
    let mut data = Data::new(3);
    let x = normal(&mut data, 60);
    for op in Reduce::ALL {
        for axis in [None, Some(0), Some(1), Some(2)] {
            let dy = normal(&mut data, reduce(op, &x, &shape, axis).len());
            let want = differences(&x, |x| dot(&reduce(op, x, &shape, axis), &dy));
            assert_gradient(
                &format!("{op:?} {axis:?}"),
                &reduce_bwd(op, &x, &shape, axis, &dy),
                &want,
            );
        }
    }
}

#[test]
fn matmul_in_every_layout() {
    // [1 2 3; 4 5 6] · [1 0; 0 1; 2 -1]
    let (a, at) = (
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        [1.0, 4.0, 2.0, 5.0, 3.0, 6.0],
    );
    let (b, bt) = (
        [1.0, 0.0, 0.0, 1.0, 2.0, -1.0],
        [1.0, 0.0, 2.0, 0.0, 1.0, -1.0],
    );
    let want = [7.0, -1.0, 16.0, -1.0];
    assert_eq!(matmul(&MatMul::nn(2, 2, 3), &a, &b), want);
    assert_eq!(matmul(&MatMul::nt(2, 2, 3), &a, &bt), want);
    assert_eq!(matmul(&MatMul::tn(2, 2, 3), &at, &b), want);
    let (bias, old) = ([0.5, -9.0], [1.0, 1.0, 2.0, 2.0]);
    let out = matmul_epilogue(&MatMul::nn(2, 2, 3), &a, &b, Some(&bias), Some(&old));
    assert_eq!(out, [8.5, -9.0, 18.5, -8.0]);

    let mut data = Data::new(4);
    for shape in [
        MatMul::nn(3, 5, 4),
        MatMul::nt(3, 5, 4),
        MatMul::tn(3, 5, 4),
    ] {
        let s = shape.batched(2);
        let (a, b) = (normal(&mut data, 2 * 3 * 4), normal(&mut data, 2 * 4 * 5));
        let (bias, dc) = (normal(&mut data, 5), normal(&mut data, 2 * 3 * 5));
        let value = |a: &[f64], b: &[f64], bias: &[f64]| {
            dot(&matmul_epilogue(&s, a, b, Some(bias), None), &dc)
        };
        let grads = matmul_bwd(&s, &a, &b, &dc);
        assert_gradient("dA", &grads.da, &differences(&a, |a| value(a, &b, &bias)));
        assert_gradient("dB", &grads.db, &differences(&b, |b| value(&a, b, &bias)));
        assert_gradient(
            "dbias",
            &grads.dbias,
            &differences(&bias, |bias| value(&a, &b, bias)),
        );
    }
}

#[test]
fn lora_gradients() {
    let mut data = Data::new(6);
    let (n, i, o, r) = (4, 5, 6, 2);
    for in_out in [false, true] {
        for rows in [0..o, 2..5] {
            let keep = Some((data.keep(n * i, 0.4), 0.4));
            let lora = Lora {
                n,
                i,
                o,
                r,
                in_out,
                scale: 1.5,
                rows: rows.clone(),
                keep,
            };
            let sizes = [n * i, o * i, o, r * i, rows.len() * r];
            let inputs = sizes.map(|len| normal(&mut data, len)).to_vec();
            let dy = normal(&mut data, n * o);
            let grads = lora.backward(&inputs, &dy);
            for (at, got) in grads.iter().enumerate() {
                let want = differences(&inputs[at], |values| {
                    let mut inputs = inputs.clone();
                    inputs[at] = values.to_vec();
                    dot(&lora.forward(&inputs), &dy)
                });
                assert_gradient(&format!("{lora:?}, input {at}"), got, &want);
            }
        }
    }
}

#[test]
fn embedding_and_dropout() {
    let table = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let ids = [2, 0, 2];
    assert_eq!(embedding(&table, 2, &ids), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    let dtable = embedding_bwd(&ids, &[1.0, 2.0, 10.0, 20.0, 100.0, 200.0], 3, 2);
    assert_eq!(dtable, [10.0, 20.0, 0.0, 0.0, 101.0, 202.0]);
    assert_eq!(
        dropout(&[1.0, 2.0, 3.0], &[true, false, true], 0.5),
        [2.0, 0.0, 6.0]
    );
}

#[test]
fn target_loss_and_row_gradients() {
    let mut data = Data::new(9);
    let (z, targets, weights) = ([0.3, -2.0, 4.0, 1.0], [1.0, 0.0, 0.25, 1.0], [0.5, 0.0]);
    for f in [TargetLoss::BinaryCrossEntropy, TargetLoss::SquaredError] {
        let (loss, dz) = target_loss(f, &z, &targets, &weights);
        let want = differences(&z, |z| target_loss(f, z, &targets, &weights).0);
        assert_gradient(&format!("{f:?}"), &dz, &want);
        let direct = match f {
            TargetLoss::SquaredError => 0.5 * (0.7 * 0.7 + 4.0),
            // -ln σ(0.3) - ln(1 - σ(-2)), by hand
            _ => 0.5 * (0.554_355_244_468_527 + 0.126_928_011_042_972_5),
        };
        assert!((loss - direct).abs() < 1e-12, "{f:?}: {loss}");
    }
    let (steps, width) = (3, 2);
    let x = normal(&mut data, 4 * steps * width);
    let rows = [7, u32::MAX, 0, 11];
    let dy = normal(&mut data, rows.len() * width);
    let want = differences(&x, |x| dot(&select_rows(x, width, &rows), &dy));
    let got = select_rows_bwd(4 * steps, width, &rows, &dy);
    assert_gradient("select_rows", &got, &want);
    let lens = [3, 0, 1, 9];
    let want = differences(&x, |x| dot(&mean_pool(x, steps, width, &lens), &dy));
    let got = mean_pool_bwd(steps, width, &lens, &dy);
    assert_gradient("mean_pool", &got, &want);
}
