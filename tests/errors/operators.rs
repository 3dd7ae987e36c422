//! What operators, tensors and parameters refuse.

use melos::Error;
use melos::device::Gpu;
use melos::ops::{self, AttentionOptions, LstmOptions, LstmWeights, RowSelection, TokenIds};
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{Init, ParamSpec, ParamStore, Tape, Tensor};

use crate::common::gpu;

pub fn floats(gpu: &Gpu, dims: &[usize]) -> Tensor {
    Tensor::from_slice(gpu, dims, &vec![0.5f32; dims.iter().product()]).unwrap()
}

pub fn words(gpu: &Gpu, dims: &[usize]) -> Tensor {
    Tensor::from_slice(gpu, dims, &vec![1u32; dims.iter().product()]).unwrap()
}

#[test]
fn wrong_shapes() {
    let gpu = &gpu();
    let tape = Tape::inference(gpu);
    let a = floats(gpu, &[3, 5]);
    let wrong = |result: melos::Result<Tensor>, words: [&str; 2]| {
        refused!(result, Error::Shape { .. }, words[0], words[1]);
    };
    wrong(
        Tensor::from_slice(gpu, [3], &[1.0f32; 2]),
        ["write: argument 'values'", "found 2 values"],
    );
    wrong(a.reshaped([4, 4]), ["15 elements", "(4, 4)"]);
    wrong(a.window(1, [20]), ["window", "20 elements from 1"]);
    wrong(
        ops::add(&tape, &a, &floats(gpu, &[4])),
        ["broadcast with (3, 5)", "(4)"],
    );
    wrong(
        ops::matmul(&tape, &a, &a, false, false),
        ["argument 'b'", "(3, 5)"],
    );
    wrong(
        ops::matmul(&tape, &floats(gpu, &[5]), &a, false, false),
        ["argument 'a'", "(rows, columns)"],
    );
    wrong(
        ops::linear(&tape, &a, &floats(gpu, &[2, 4]), None),
        ["argument 'x'", "(3, 4)"],
    );
    wrong(
        ops::linear(&tape, &a, &floats(gpu, &[2, 5]), Some(&a)),
        ["argument 'b'", "(2)"],
    );
    wrong(
        ops::concat(&tape, &[a.clone(), floats(gpu, &[4, 5])]),
        ["concat", "(4, 5)"],
    );
    let tokens = TokenIds::from_host(gpu, 2, 1, &[0, 0]).unwrap();
    wrong(
        ops::embedding(&tape, &floats(gpu, &[5]), &tokens),
        ["argument 'table'", "(5)"],
    );
    let result = TokenIds::from_host(gpu, 2, 2, &[0, 0]).map(|t| t.ids().clone());
    wrong(result, ["(2, 2)", "2 values"]);
    let (w, targets) = (floats(gpu, &[7, 5]), words(gpu, &[2]));
    let result = ops::linear_cross_entropy(&tape, &a, &w, None, &targets, &floats(gpu, &[3]));
    wrong(result, ["argument 'targets'", "(3)"]);
    let weights = [[8, 5], [8, 2], [8, 1], [8, 1]].map(|d| floats(gpu, &d));
    let weights = LstmWeights {
        w_ih: &weights[0],
        w_hh: &weights[1],
        b_ih: &weights[2],
        b_hh: &weights[3],
    };
    let x = floats(gpu, &[3, 2, 5]);
    let lens = words(gpu, &[2]);
    let result = ops::lstm(&tape, &x, &lens, None, &weights, LstmOptions::default());
    wrong(result.map(|r| r.out), ["argument 'b_ih'", "(8, 1)"]);
    let state = StepState::new(gpu, 1).unwrap();
    let result = Tape::training(gpu, state.tensor())
        .backward(&a)
        .map(|()| a.clone());
    wrong(result, ["argument 'loss'", "(3, 5)"]);
}

#[test]
fn wrong_shapes_in_transformers() {
    let gpu = &gpu();
    let tape = Tape::inference(gpu);
    let wrong = |result: melos::Result<Tensor>, words: [&str; 2]| {
        refused!(result, Error::Shape { .. }, words[0], words[1]);
    };
    let x = floats(gpu, &[2, 3, 5]);
    let (five, four) = (floats(gpu, &[5]), floats(gpu, &[4]));
    let norm = |residual: Option<&Tensor>, gamma: &Tensor, beta: &Tensor| {
        ops::layer_norm(&tape, &x, residual, gamma, beta, 1e-5).map(|n| n.y)
    };
    wrong(
        norm(None, &four, &five),
        ["layer_norm: argument 'gamma'", "(5)"],
    );
    wrong(
        norm(None, &five, &four),
        ["layer_norm: argument 'beta'", "(4)"],
    );
    wrong(
        norm(Some(&floats(gpu, &[6, 5])), &five, &five),
        ["layer_norm: argument 'residual'", "(2, 3, 5)"],
    );
    let selection = RowSelection::empty(gpu, 7, 2).unwrap();
    wrong(
        ops::select_rows(&tape, &x, &selection),
        ["select_rows: argument 'x'", "7 rows"],
    );
    let written = selection.write(&[0, 1, 2]).map(|()| x.clone());
    wrong(written, ["row selection", "at most 2 rows"]);
    wrong(
        ops::mean_pool(&tape, &five, &words(gpu, &[2])),
        ["mean_pool: argument 'x'", "(B, T, C)"],
    );
    wrong(
        ops::mean_pool(&tape, &x, &words(gpu, &[3])),
        ["mean_pool: argument 'lens'", "(2)"],
    );
    let z = floats(gpu, &[3, 4]);
    wrong(
        ops::binary_cross_entropy(&tape, &z, &floats(gpu, &[3, 5]), &floats(gpu, &[3])),
        ["binary_cross_entropy: argument 'targets'", "(3, 4)"],
    );
    wrong(
        ops::squared_error(&tape, &z, &z, &four),
        ["squared_error: argument 'weights'", "(3)"],
    );
    wrong(
        ops::squared_error(&tape, &four, &four, &four),
        ["squared_error: argument 'values'", "(rows, columns)"],
    );
}

#[test]
fn wrong_element_types() {
    let gpu = &gpu();
    let tape = Tape::inference(gpu);
    let (f, u) = (floats(gpu, &[3, 3]), words(gpu, &[3, 3]));
    let wrong = |result: melos::Result<Tensor>, op: &str| {
        refused!(
            result,
            Error::DType { .. },
            op,
            // Some operators also take f16.
            "should hold f32",
            ", found u32"
        );
    };
    wrong(ops::unary(&tape, &u, ops::Unary::Relu), "unary");
    wrong(ops::add(&tape, &f, &u), "binary: argument 'b'");
    wrong(ops::sum_all(&tape, &u), "sum_all");
    wrong(
        ops::matmul(&tape, &f, &u, false, false),
        "matmul: argument 'b'",
    );
    wrong(ops::linear(&tape, &u, &f, None), "linear: argument 'x'");
    wrong(ops::concat(&tape, &[f.clone(), u.clone()]), "concat");
    wrong(ops::dropout(&tape, &u, 0.5), "dropout");
    wrong(u.fill(1.0).map(|()| u.clone()), "fill");
    let three = floats(gpu, &[3]);
    let norm = ops::layer_norm(&tape, &f, Some(&u), &three, &three, 1e-5);
    wrong(norm.map(|n| n.y), "layer_norm: argument 'residual'");
    let selection = RowSelection::empty(gpu, 3, 1).unwrap();
    wrong(ops::select_rows(&tape, &u, &selection), "select_rows");
    wrong(
        ops::mean_pool(&tape, &words(gpu, &[1, 3, 3]), &words(gpu, &[1])),
        "mean_pool: argument 'x'",
    );
    wrong(
        ops::binary_cross_entropy(&tape, &f, &u, &three),
        "binary_cross_entropy: argument 'targets'",
    );
    wrong(
        ops::squared_error(&tape, &u, &f, &three),
        "squared_error: argument 'values'",
    );
    refused!(
        ops::mean_pool(&tape, &floats(gpu, &[1, 3, 3]), &floats(gpu, &[1])),
        Error::DType { .. },
        "mean_pool: argument 'lens'",
        "should hold u32, found f32"
    );
    refused!(
        f.to_vec::<u32>(),
        Error::DType { .. },
        "should hold u32, found f32"
    );
    refused!(u.write(&[1.0f32; 9]), Error::DType { .. }, "write");
}

#[test]
fn attention_arguments() {
    let gpu = &gpu();
    let tape = Tape::inference(gpu);
    let x = floats(gpu, &[2, 3, 12]);
    let with = |heads, dropout, scale| {
        let options = AttentionOptions {
            dropout,
            scale,
            ..AttentionOptions::new(heads)
        };
        ops::attention(&tape, &x, &x, &x, None, &options)
    };
    for heads in [0, 5, 24] {
        refused!(
            with(heads, 0.0, None),
            Error::Argument { .. },
            "heads",
            "for a width of 12",
            "a divisor of the width"
        );
    }
    for dropout in [-0.1, 1.0, f32::NAN] {
        refused!(
            with(3, dropout, None),
            Error::Argument { .. },
            "dropout",
            "0 <= p < 1"
        );
    }
    refused!(
        with(3, 0.0, Some(f32::INFINITY)),
        Error::Argument { .. },
        "scale",
        "a finite number"
    );
    let options = AttentionOptions {
        causal: true,
        ..AttentionOptions::new(3)
    };
    let attend = |q: &Tensor, k: &Tensor, v: &Tensor, lens: Option<&Tensor>| {
        ops::attention(&tape, q, k, v, lens, &options)
    };
    let wrong = |result: melos::Result<Tensor>, words: [&str; 2]| {
        refused!(result, Error::Shape { .. }, words[0], words[1]);
    };
    let flat = floats(gpu, &[6, 12]);
    wrong(attend(&flat, &x, &x, None), ["argument 'q'", "(B, T, C)"]);
    wrong(attend(&x, &flat, &x, None), ["argument 'k'", "(B, S, C)"]);
    let narrow = floats(gpu, &[2, 3, 9]);
    wrong(attend(&x, &narrow, &x, None), ["argument 'k'", "(2, 3, 9)"]);
    let longer = floats(gpu, &[2, 4, 12]);
    wrong(
        attend(&x, &longer, &x, None),
        ["argument 'v'", "(2, 4, 12)"],
    );
    wrong(
        attend(&x, &x, &x, Some(&words(gpu, &[3]))),
        ["argument 'lens'", "(3)"],
    );
    refused!(
        attend(&x, &x, &x, Some(&floats(gpu, &[2]))),
        Error::DType { .. },
        "argument 'lens'",
        "should hold u32"
    );
    let packed = |qkv: &Tensor| ops::attention_packed(&tape, qkv, None, &options);
    wrong(packed(&flat), ["argument 'qkv'", "(B, T, (NH + 2 KH) D)"]);
    wrong(
        packed(&floats(gpu, &[2, 3, 11])),
        ["argument 'qkv'", "(2, 3, 11)"],
    );
    refused!(
        packed(&words(gpu, &[2, 3, 9])),
        Error::DType { .. },
        "argument 'qkv'",
        "should hold f32"
    );
}

fn store(gpu: &Gpu, names: &[&str]) -> melos::Result<ParamStore> {
    let spec = |n: &&str| ParamSpec::new(*n, [3], Init::Constant(0.0));
    ParamStore::new(gpu, names.iter().map(spec).collect(), 0, |_| 1.0)
}

const PLAIN: OptimizerKind = OptimizerKind::AdaGrad {
    eps: 1e-10,
    weight_decay: 0.0,
};

#[test]
fn numbers_out_of_range() {
    let gpu = &gpu();
    let tape = Tape::inference(gpu);
    let x = floats(gpu, &[3, 2, 5]);
    for smoothing in [1.0, -0.1, f32::NAN] {
        let (logits, targets) = (floats(gpu, &[3, 5]), words(gpu, &[3]));
        let weights = floats(gpu, &[3]);
        refused!(
            ops::smoothed_cross_entropy(&tape, &logits, &targets, &weights, smoothing),
            Error::Argument { .. },
            "cross_entropy: smoothing = ",
            "0 <= smoothing < 1"
        );
    }
    for p in [1.0, -0.1, f32::NAN] {
        let result = ops::dropout(&tape, &x, p);
        refused!(
            result,
            Error::Argument { .. },
            "dropout: p = ",
            "0 <= p < 1"
        );
    }
    let five = floats(gpu, &[5]);
    for eps in [0.0, -1e-5, f32::NAN, f32::INFINITY] {
        let result = ops::layer_norm(&tape, &x, None, &five, &five, eps);
        refused!(
            result.map(drop),
            Error::Argument { .. },
            "layer_norm: eps",
            "above 0"
        );
    }
    let selection = RowSelection::empty(gpu, 7, 3).unwrap();
    for rows in [[0, 7, 1], [2, u32::MAX, 2]] {
        refused!(
            selection.write(&rows),
            Error::Argument { .. },
            "row selection: rows",
            "at most once"
        );
    }
    let weights = [[8, 5], [8, 2]].map(|d| floats(gpu, &d));
    let bias = floats(gpu, &[8]);
    let weights = LstmWeights {
        w_ih: &weights[0],
        w_hh: &weights[1],
        b_ih: &bias,
        b_hh: &bias,
    };
    for cell_clip in [-1.0, f32::NAN] {
        let options = LstmOptions {
            cell_clip,
            ..LstmOptions::default()
        };
        let result = ops::lstm(&tape, &x, &words(gpu, &[2]), None, &weights, options);
        refused!(
            result.map(drop),
            Error::Argument { .. },
            "cell_clip",
            "0 or more"
        );
    }
    refused!(
        ops::concat(&tape, &[]),
        Error::Argument { .. },
        "concat",
        "at least one"
    );
    refused!(
        Tensor::zeros(gpu, [3, 0]),
        Error::Argument { .. },
        "(3, 0)",
        "at least one element"
    );
    let optimizer = Optimizer::new(gpu, PLAIN, &store(gpu, &["p"]).unwrap()).unwrap();
    let state = StepState::new(gpu, 1).unwrap();
    refused!(
        state.advance(&optimizer, 0, 0.1),
        Error::Argument { .. },
        "step = 0",
        "1 or more"
    );
    let training = Tape::training(gpu, state.tensor());
    let loss = ops::sum_all(&training, &x).unwrap();
    refused!(
        training.backward(&loss),
        Error::Argument { .. },
        "backward",
        "trainable"
    );
}

#[test]
fn parameters_that_are_not_there_or_there_twice() {
    let gpu = &gpu();
    let own = store(gpu, &["w", "b"]).unwrap();
    refused!(
        own.get("v"),
        Error::Parameter { .. },
        "'v'",
        "no parameter of this name"
    );
    refused!(
        store(gpu, &["w", "w"]).map(drop),
        Error::Parameter { .. },
        "'w'",
        "twice"
    );
    let optimizer = Optimizer::new(gpu, PLAIN, &own).unwrap();
    let other = store(gpu, &["w"]).unwrap();
    let state = StepState::new(gpu, 1).unwrap();
    let result = optimizer.step(&other, &state, None);
    refused!(result, Error::Parameter { .. }, "other parameters");
}
