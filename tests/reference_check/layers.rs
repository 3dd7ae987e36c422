//! Attention, losses, normalisation and the LSTM.

use crate::reference::attention::Attention;
use crate::reference::loss::{cross_entropy, linear_cross_entropy, mean_weights};
use crate::reference::lstm::{LstmStack, Named, interleave_gates, stack_gates};
use crate::reference::norm::{layer_norm, layer_norm_bwd, rms_norm, rms_norm_bwd};
use crate::reference::rope::rope;
use crate::reference::{Data, cast};
use crate::{assert_gradient, differences, dot, normal};

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
    let mut shared = Attention::new(2, 5, 4, 3);
    shared.kv_heads = 2;
    shared.causal = true;
    shared.window = Some(2);
    shared.softcap = Some(1.5);
    for shape in [plain, masked, cached, shared] {
        let [c, kv] = [shape.heads, shape.kv_heads].map(|heads| heads * shape.width);
        let sizes = [(shape.queries, c), (shape.keys, kv), (shape.keys, kv)];
        let sizes = sizes.map(|(t, c)| shape.batch * t * c);
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
    shape.window = Some(2);
    let out = shape.forward([&[1.0, 2.0, 3.0], &[1.0; 3], &[3.0, 5.0, 10.0]]);
    assert_eq!(out, [3.0, 4.0, 7.5]);
    shape.lens = Some(vec![0]);
    let out = shape.forward([&[1.0, 2.0, 3.0], &[1.0; 3], &[3.0, 5.0, 10.0]]);
    assert_eq!(out, [0.0; 3]);
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
fn rms_norm_gradients() {
    let mut data = Data::new(9);
    let (rows, width, eps) = (3, 5, 1e-5);
    let x = normal(&mut data, rows * width);
    let (gamma, dy) = (normal(&mut data, width), normal(&mut data, rows * width));
    for offset in [0.0, 1.0] {
        let value = |x: &[f64], gamma: &[f64]| dot(&rms_norm(x, gamma, offset, eps), &dy);
        let (dx, dgamma) = rms_norm_bwd(&x, &gamma, offset, eps, &dy);
        assert_gradient("dx", &dx, &differences(&x, |x| value(x, &gamma)));
        let want = differences(&gamma, |gamma| value(&x, gamma));
        assert_gradient("dgamma", &dgamma, &want);
    }
    // Squares 9 and 16: the root of their mean is 5 / sqrt 2.
    let y: Vec<f64> = rms_norm(&[3.0, 4.0], &[1.0, 0.5], 1.0, 0.0);
    let want = [2.0 * 3.0, 1.5 * 4.0].map(|v| v * 2f64.sqrt() / 5.0);
    assert!(
        y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15),
        "{y:?}"
    );
}

#[test]
fn rotary_gradients() {
    let mut data = Data::new(10);
    let (heads, width) = (2, 5);
    let angles = [0.3f32, -1.1, 2.0, 0.7];
    let turns: Vec<Vec<[f32; 2]>> = angles
        .chunks(2)
        .map(|row| row.iter().map(|a| [a.cos(), a.sin()]).collect())
        .collect();
    let x = normal(&mut data, 2 * heads * width);
    let dy = normal(&mut data, x.len());
    let value = |x: &[f64]| dot(&rope(x, [heads, width], &turns, false), &dy);
    let got = rope(&dy, [heads, width], &turns, true);
    assert_gradient("dx", &got, &differences(&x, value));
    // A quarter turn: the first half becomes the second, the second the first with another sign.
    let quarter = vec![vec![[0.0, 1.0]]];
    assert_eq!(
        rope(&[2.0, 3.0, 7.0], [1, 3], &quarter, false),
        [-3.0, 2.0, 7.0]
    );
}

/// Two layers, both directions, ragged lengths, a clipped cell: every gradient of the stack.
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
