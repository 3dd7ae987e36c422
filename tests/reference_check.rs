//! The references are checked themselves: gradients by central differences, everything that PyTorch
//! has by its fixtures, and the comparison by what it must refuse.

mod reference;

use reference::attention::Attention;
use reference::elementwise::{
    Binary, Reduce, Unary, binary, binary_bwd, broadcast_shape, dropout, reduce, reduce_bwd, unary,
    unary_bwd,
};
use reference::embedding::{embedding, embedding_bwd};
use reference::lora::Lora;
use reference::loss::{TargetLoss, cross_entropy, linear_cross_entropy, mean_weights, target_loss};
use reference::lstm::{LstmStack, Named, interleave_gates, stack_gates};
use reference::matmul::{MatMul, matmul, matmul_bwd, matmul_epilogue};
use reference::norm::{layer_norm, layer_norm_bwd};
use reference::rows::{mean_pool, mean_pool_bwd, select_rows, select_rows_bwd};
use reference::tolerance::{self, Tolerance};
use reference::{Data, assert_near, assert_same_bits, cast, compare};

fn normal(data: &mut Data, n: usize) -> Vec<f64> {
    cast(&data.normal(n, 1.0))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// (f(x + e) - f(x - e)) / 2e for each element of x.
fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|at| {
            let own = x[at];
            x[at] = own + STEP;
            let above = f(&x);
            x[at] = own - STEP;
            let below = f(&x);
            x[at] = own;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// Both at f64: f32 would hide what the differences can show.
#[track_caller]
fn assert_gradient(name: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}");
    let Tolerance { atol, rtol, .. } = tolerance::DIFFERENCES;
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let allowed = atol + rtol * want.abs();
        assert!(
            (got - want).abs() <= allowed,
            "{name}[{at}]: {got:e}, by differences {want:e}"
        );
    }
    assert!(
        want.iter().any(|w| w.abs() > 1e-3),
        "{name}: the check sees no gradient"
    );
}

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
fn attention_gradients() {
    let mut data = Data::new(21);
    let [plain, mut masked, mut cached] = [4, 4, 2].map(|t| Attention::new(2, t, 2, 3));
    masked.causal = true;
    masked.lens = Some(vec![4, 2]);
    let weights = 2 * 2 * 4 * 4;
    let keep = data.keep(weights, 0.3);
    masked.dropout = Some(
        keep.iter()
            .map(|k| if *k { 1.0 / 0.7 } else { 0.0 })
            .collect(),
    );
    cached.keys = 5;
    cached.causal = true;
    cached.lens = Some(vec![5, 3]);
    cached.scale = Some(0.8);
    for shape in [plain, masked, cached] {
        let c = shape.heads * shape.width;
        let sizes = [shape.queries, shape.keys, shape.keys].map(|t| shape.batch * t * c);
        let inputs = sizes.map(|n| normal(&mut data, n));
        let dout = normal(&mut data, sizes[0]);
        let grads = shape.backward([0, 1, 2].map(|i| &inputs[i][..]), &dout);
        for i in 0..3 {
            let want = differences(&inputs[i], |x| {
                let mut all = [0, 1, 2].map(|i| &inputs[i][..]);
                all[i] = x;
                dot(&shape.forward(all), &dout)
            });
            assert_gradient(&format!("input {i} of {shape:?}"), &grads[i], &want);
        }
    }
    // Equal keys: equal weights, of those that are seen.
    let mut shape = Attention::new(1, 3, 1, 1);
    shape.causal = true;
    let out = shape.forward([&[1.0, 2.0, 3.0], &[1.0; 3], &[3.0, 5.0, 10.0]]);
    assert_eq!(out, [3.0, 4.0, 6.0]);
    shape.lens = Some(vec![0]);
    let out = shape.forward([&[1.0, 2.0, 3.0], &[1.0; 3], &[3.0, 5.0, 10.0]]);
    assert_eq!(out, [0.0; 3]);
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
    let out = matmul_epilogue(
        &MatMul::nn(2, 2, 3),
        &a,
        &b,
        Some(&bias),
        Some(Unary::Relu),
        Some(&old),
    );
    assert_eq!(out, [8.5, 1.0, 18.5, 2.0]);

    let mut data = Data::new(4);
    for shape in [
        MatMul::nn(3, 5, 4),
        MatMul::nt(3, 5, 4),
        MatMul::tn(3, 5, 4),
    ] {
        for activation in [None, Some(Unary::GeluTanh)] {
            let s = shape.batched(2);
            let (a, b) = (normal(&mut data, 2 * 3 * 4), normal(&mut data, 2 * 4 * 5));
            let (bias, dc) = (normal(&mut data, 5), normal(&mut data, 2 * 3 * 5));
            let value = |a: &[f64], b: &[f64], bias: &[f64]| {
                dot(
                    &matmul_epilogue(&s, a, b, Some(bias), activation, None),
                    &dc,
                )
            };
            let grads = matmul_bwd(&s, &a, &b, Some(&bias), activation, &dc);
            assert_gradient("dA", &grads.da, &differences(&a, |a| value(a, &b, &bias)));
            assert_gradient("dB", &grads.db, &differences(&b, |b| value(&a, b, &bias)));
            assert_gradient(
                "dbias",
                &grads.dbias,
                &differences(&bias, |bias| value(&a, &b, bias)),
            );
        }
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
fn cross_entropy_gradients() {
    let mut data = Data::new(5);
    let (n, c, v) = (6, 4, 7);
    let targets = [3, -1, 0, 6, -1, 2];
    let weights: Vec<f64> = mean_weights(&targets);
    assert_eq!(weights, [0.25, 0.0, 0.25, 0.25, 0.0, 0.25]);
    assert_eq!(mean_weights::<f64>(&[-1, -1]), [0.0, 0.0]);
    let (x, w, bias) = (
        normal(&mut data, n * c),
        normal(&mut data, v * c),
        normal(&mut data, v),
    );
    let logits = normal(&mut data, n * v);
    let ce = cross_entropy(&logits, &targets, &weights);
    assert_eq!(ce.row_loss[1], 0.0);
    let want = differences(&logits, |l| cross_entropy(l, &targets, &weights).loss);
    assert_gradient("dlogits", &ce.dlogits, &want);
    let value = |x: &[f64], w: &[f64], b: &[f64]| {
        linear_cross_entropy(x, w, Some(b), &targets, &weights).loss
    };
    let got = linear_cross_entropy(&x, &w, Some(&bias), &targets, &weights);
    assert_gradient("dx", &got.dx, &differences(&x, |x| value(x, &w, &bias)));
    assert_gradient("dW", &got.dw, &differences(&w, |w| value(&x, w, &bias)));
    assert_gradient(
        "dbias",
        &got.dbias,
        &differences(&bias, |b| value(&x, &w, b)),
    );
}

/// Two layers, both directions, ragged lengths, a clipped cell: every gradient of the stack.
#[test]
fn layer_norm_gradients() {
    let mut data = Data::new(8);
    let (rows, width, eps) = (3, 5, 1e-5);
    let x = normal(&mut data, rows * width);
    let (gamma, beta) = (normal(&mut data, width), normal(&mut data, width));
    let dy = normal(&mut data, rows * width);
    let value = |x: &[f64], gamma: &[f64], beta: &[f64]| dot(&layer_norm(x, gamma, beta, eps), &dy);
    let got = layer_norm_bwd(&x, &gamma, eps, &dy);
    assert_gradient("dx", &got.dx, &differences(&x, |x| value(x, &gamma, &beta)));
    let want = differences(&gamma, |gamma| value(&x, gamma, &beta));
    assert_gradient("dgamma", &got.dgamma, &want);
    let want = differences(&beta, |beta| value(&x, &gamma, beta));
    assert_gradient("dbeta", &got.dbeta, &want);
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

#[test]
fn lstm_gradients() {
    let lengths = [4, 1, 5];
    for (bidirectional, cell_clip) in [(false, None), (true, None), (true, Some(0.4))] {
        let stack = LstmStack {
            t: 5,
            b: 3,
            i: 3,
            h: 4,
            layers: 2,
            bidirectional,
            cell_clip,
        };
        let d = if bidirectional { 2 } else { 1 };
        let mut data = Data::new(6);
        let mut params: Named<f64> = Named::new();
        for layer in 0..2 {
            for suffix in ["", "_reverse"].iter().take(d) {
                let i = if layer == 0 { 3 } else { 4 * d };
                for (name, n) in [
                    ("weight_ih", 16 * i),
                    ("weight_hh", 64),
                    ("bias_ih", 16),
                    ("bias_hh", 16),
                ] {
                    let value = cast(&data.normal(n, 0.6));
                    params.insert(format!("{name}_l{layer}{suffix}"), value);
                }
            }
        }
        let x = normal(&mut data, 5 * 3 * 3);
        let (h0, c0) = (normal(&mut data, 2 * d * 12), normal(&mut data, 2 * d * 12));
        let dy = normal(&mut data, 5 * 3 * 4 * d);
        let (dh_n, dc_n) = (normal(&mut data, 2 * d * 12), normal(&mut data, 2 * d * 12));
        let value = |x: &[f64], h0: &[f64], c0: &[f64], params: &Named<f64>| {
            let out = stack.forward(&lengths, x, h0, c0, params);
            dot(&out.y, &dy) + dot(&out.h_n, &dh_n) + dot(&out.c_n, &dc_n)
        };
        let out = stack.forward(&lengths, &x, &h0, &c0, &params);
        if cell_clip.is_some() {
            assert!(
                out.c_n.iter().any(|c| c.abs() == 0.4),
                "the clip never bites"
            );
        }
        let got = stack.backward(&lengths, &h0, &c0, &params, &out, &dy, &dh_n, &dc_n);
        assert_gradient(
            "dx",
            &got.dx,
            &differences(&x, |x| value(x, &h0, &c0, &params)),
        );
        assert_gradient(
            "dh0",
            &got.dh0,
            &differences(&h0, |h0| value(&x, h0, &c0, &params)),
        );
        assert_gradient(
            "dc0",
            &got.dc0,
            &differences(&c0, |c0| value(&x, &h0, c0, &params)),
        );
        for (name, own) in &params {
            let want = differences(own, |w| {
                let mut params = params.clone();
                params.insert(name.clone(), w.to_vec());
                value(&x, &h0, &c0, &params)
            });
            assert_gradient(name, &got.weights[name], &want);
        }
    }
}

#[test]
fn gates_interleave_and_back() {
    // (4H, I) with H = 2, I = 1: i0 i1 f0 f1 g0 g1 o0 o1
    let stacked = [0, 1, 10, 11, 20, 21, 30, 31];
    let interleaved = interleave_gates(&stacked, 2, 1);
    assert_eq!(interleaved, [0, 10, 20, 30, 1, 11, 21, 31]);
    assert_eq!(stack_gates(&interleaved, 2, 1), stacked);
    let long: Vec<usize> = (0..3 * 4 * 5 * 7).collect();
    assert_eq!(stack_gates(&interleave_gates(&long, 5, 7), 5, 7), long);
}

#[test]
fn the_comparison_refuses_what_is_wrong() {
    let table = Tolerance {
        factor: 2.0,
        atol: 1e-6,
        rtol: 1e-3,
        reason: "test",
    };
    let check = |got: &[f32], want: &[f64], naive: &[f32]| compare::check(got, want, naive, table);
    let (want, naive) = ([1.0, 2.0, 3.0], [1.0, 2.0, 3.001]);
    assert!(check(&[1.0, 2.0, 3.0015], &want, &naive).is_ok());
    // A NaN, an infinity, a missing value.
    assert!(
        check(&[1.0, f32::NAN, 3.0], &want, &naive)
            .unwrap_err()
            .contains("[1] is NaN")
    );
    assert!(check(&[1.0, 2.0, f32::INFINITY], &want, &naive).is_err());
    assert!(check(&[1.0, 2.0], &want, &naive).is_err());
    // Absolutely wrong though relatively small; the worst element is named.
    let mut large = vec![1.0; 1000];
    let (want_large, naive_large) = (vec![1.0; 1000], vec![1.0; 1000]);
    large[7] = 1.001;
    let fault = check(&large, &want_large, &naive_large).unwrap_err();
    assert!(
        fault.contains("absolute") && fault.contains("[7]"),
        "{fault}"
    );
    // Relatively wrong though every value is below atol.
    let fault = check(&[1e-8, 2e-8], &[1e-8, 1e-8], &[1e-8, 1e-8]).unwrap_err();
    assert!(fault.starts_with("relative"), "{fault}");
    // A reference that is itself not finite proves nothing.
    assert!(check(&[1.0], &[f64::NAN], &[1.0]).is_err());
}

#[test]
#[should_panic(
    expected = "again: tools/with-vulkan cargo test --release --test reference_check \
                           a_failure_says_how_to_run_it_again"
)]
fn a_failure_says_how_to_run_it_again() {
    assert_near("values", &[1.0], &[2.0], tolerance::MATMUL);
}

#[test]
#[should_panic(expected = "[1]")]
fn bits_that_differ_are_refused() {
    assert_same_bits("NaN equals itself", &[f32::NAN], &[f32::NAN]);
    assert_same_bits("0 and -0", &[0.0, 0.0], &[0.0, -0.0]);
}

#[test]
fn every_tolerance_is_strict_and_has_a_reason() {
    for (name, row) in tolerance::ALL {
        assert!(row.reason.len() > 10, "{name}");
        assert!((0.0..=3.0).contains(&row.factor), "{name}");
        assert!(row.atol <= 2e-3 && row.rtol <= 2e-3, "{name}");
    }
}

#[test]
fn data_is_the_same_everywhere() {
    let mut data = Data::new(42);
    assert_eq!(
        data.uniform(3, -1.0, 1.0),
        [0.48312977, -0.68017924, -0.44279775]
    );
    let peaked = data.peaked(1000, 1.0, 50.0);
    assert!(peaked.iter().any(|x| x.abs() > 50.0));
    let lengths = data.lengths(8, 9);
    assert!(lengths.iter().all(|l| (1..=9).contains(l)), "{lengths:?}");
    assert_eq!((lengths[0], lengths[7]), (9, 1));
    assert!(data.ids(50, 10).iter().all(|id| *id < 10));
    assert!(data.targets(50, 3).contains(&-1));
}

// Reads safetensors, which comes with this feature.
#[cfg(feature = "train")]
#[path = "reference/pytorch_check.rs"]
mod pytorch;
