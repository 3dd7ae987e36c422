//! The references at f64 against what PyTorch computed at f64. With each, the same at f32 must pass
//! the rows that the kernels are held to, so that no row is too strict for a plain f32 program on
//! another machine.

use crate::reference::fixture::Fixture;
use crate::reference::lstm::{LstmStack, Named};
use crate::reference::models::{LstmModel, Step, Trained, train};
use crate::reference::optim::{Optimizer, OptimizerState, Rule, clip_grad_norm};
use crate::reference::tolerance::{self, Tolerance};
use crate::reference::{Float, assert_near, cast};

/// `got` was computed at F: at f64 it must equal the file but for one rounding; at f32 it must pass
/// the row, which for a plain f32 program means its atol and rtol alone.
#[track_caller]
fn assert_fixture<F: Float>(name: &str, got: &[F], fixture: &Fixture, key: &str, row: Tolerance) {
    let is_f64 = size_of::<F>() == 8;
    let row = if is_f64 { tolerance::FIXTURE } else { row };
    let want: Vec<f64> = fixture.float(key);
    assert_near(&format!("{name}: {key}"), &cast(got), &want, row);
}

#[track_caller]
fn assert_all<F: Float>(
    name: &str,
    got: &Named<F>,
    fixture: &Fixture,
    prefix: &str,
    row: Tolerance,
) {
    let want = fixture.named::<f64>(prefix);
    assert!(!want.is_empty(), "{name}: nothing named {prefix}*");
    for key in want.keys() {
        let got = got
            .get(key)
            .unwrap_or_else(|| panic!("{name}: no {prefix}{key}"));
        assert_fixture(name, got, fixture, &format!("{prefix}{key}"), row);
    }
}

fn raw_lstm<F: Float>(name: &str, layers: usize, bidirectional: bool) {
    let file = Fixture::open(name);
    let [t, b, i] = *file.shape("input.x") else {
        panic!("input.x is not (T, B, I)")
    };
    let h = file.shape("input.h0")[2];
    let stack = LstmStack {
        t,
        b,
        i,
        h,
        layers,
        bidirectional,
        cell_clip: None,
    };
    let lengths = file.u32("input.lengths");
    let params: Named<F> = file.named("param.");
    let [x, h0, c0] = ["input.x", "input.h0", "input.c0"].map(|key| file.float::<F>(key));
    let out = stack.forward(lengths, &x, &h0, &c0, &params);
    assert_fixture(name, &out.y, &file, "act.output", tolerance::LSTM);
    assert_fixture(name, &out.h_n, &file, "act.h_n", tolerance::LSTM);
    assert_fixture(name, &out.c_n, &file, "act.c_n", tolerance::LSTM);
    let [dy, dh_n, dc_n] = ["coef.output", "coef.h_n", "coef.c_n"].map(|key| file.float::<F>(key));
    let grads = stack.backward(lengths, &h0, &c0, &params, &out, &dy, &dh_n, &dc_n);
    let mut named = grads.weights;
    named.extend([
        ("x".into(), grads.dx),
        ("h0".into(), grads.dh0),
        ("c0".into(), grads.dc0),
    ]);
    assert_all(name, &named, &file, "grad.", tolerance::LSTM_BWD);
}

#[test]
fn lstm_layers() {
    raw_lstm::<f64>("lstm_1layer", 1, false);
    raw_lstm::<f32>("lstm_1layer", 1, false);
    raw_lstm::<f64>("lstm_2layer_bidirectional", 2, true);
    raw_lstm::<f32>("lstm_2layer_bidirectional", 2, true);
}

const ONE_LAYER: LstmModel = LstmModel {
    vocabulary: 37,
    embedding: 8,
    hidden: 12,
    layers: 1,
    bidirectional: false,
    cell_clip: None,
};
const STEPS: usize = 10;
const LR: f64 = 1e-3;
const MAX_NORM: f64 = 1.0;

fn assert_trained<F: Float>(name: &str, file: &Fixture, trained: &Trained<F>) {
    assert_fixture(
        name,
        &trained.losses,
        file,
        "losses",
        tolerance::TRAINING_LOSS,
    );
    assert_fixture(
        name,
        &trained.grad_norms,
        file,
        "grad_norms",
        tolerance::TRAINING_LOSS,
    );
    assert_all(
        name,
        &trained.params,
        file,
        "final.",
        tolerance::TRAINED_PARAMETER,
    );
}

/// Ten steps; the first one's layers and gradients.
fn model<F: Float>(file: &Fixture, name: &str, step: impl Fn(&Named<F>) -> Step<F>) {
    let params: Named<F> = file.named("param.");
    let first = step(&params);
    assert_fixture(name, &[first.loss], file, "loss", tolerance::MODEL);
    assert_all(name, &first.acts, file, "act.", tolerance::MODEL);
    assert_all(name, &first.grads, file, "grad.", tolerance::MODEL_BWD);
    assert_trained(
        name,
        file,
        &train(params, STEPS, LR, MAX_NORM, |_, p| step(p)),
    );
}

fn classifier<F: Float>(name: &str, shape: LstmModel) {
    let file = Fixture::open(name);
    let (ids, lengths) = (file.u32("input.ids"), file.u32("input.lengths"));
    let labels = file.i32("input.labels");
    model::<F>(&file, name, |p| shape.classifier(p, ids, lengths, labels));
}

#[test]
fn classifiers() {
    let bidirectional = LstmModel {
        hidden: 10,
        layers: 2,
        bidirectional: true,
        ..ONE_LAYER
    };
    let clip = Fixture::open("classifier_cell_clip").float::<f64>("input.cell_clip")[0];
    for (name, shape) in [
        ("classifier", ONE_LAYER),
        ("classifier_ignored_label", ONE_LAYER),
        ("classifier_2layer_bidirectional", bidirectional),
        (
            "classifier_cell_clip",
            LstmModel {
                cell_clip: Some(clip),
                ..ONE_LAYER
            },
        ),
    ] {
        classifier::<f64>(name, shape);
        classifier::<f32>(name, shape);
    }
}

fn linear_gain<F: Float>() {
    let name = "classifier_linear_gain";
    let file = Fixture::open(name);
    let (ids, lengths) = (file.u32("input.ids"), file.u32("input.lengths"));
    let labels = file.i32("input.labels");
    model::<F>(&file, name, |p| {
        ONE_LAYER.classifier_linear_gain(p, ids, lengths, labels)
    });
}

#[test]
fn classifier_with_linear_gain() {
    linear_gain::<f64>();
    linear_gain::<f32>();
}

fn autoencoder<F: Float>() {
    let name = "sequence_autoencoder";
    let file = Fixture::open(name);
    let encoder = (file.u32("input.ids"), file.u32("input.lengths"));
    let decoder = (
        file.u32("input.decoder_ids"),
        file.u32("input.decoder_lengths"),
    );
    let targets = file.i32("input.decoder_targets");
    model::<F>(&file, name, |p| {
        ONE_LAYER.sequence_autoencoder(p, encoder, decoder, targets)
    });
}

#[test]
fn sequence_autoencoder() {
    autoencoder::<f64>();
    autoencoder::<f32>();
}

fn windows<F: Float>() {
    let name = "language_model";
    let file = Fixture::open(name);
    let ids = file.u32("input.ids");
    let batch = file.shape("input.ids")[1];
    let window = file.u32("input.window")[0];
    let size = window as usize * batch;
    let targets: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let at = |k: usize, params: &Named<F>, state: &mut (Vec<F>, Vec<F>)| {
        let step = ONE_LAYER.language_model(
            params,
            &ids[k * size..][..size],
            &vec![window; batch],
            &targets[k * size + batch..][..size],
            (&state.0, &state.1),
        );
        *state = (step.acts["h_n"].clone(), step.acts["c_n"].clone());
        step
    };
    let zero = || (ONE_LAYER.zero_state(batch), ONE_LAYER.zero_state(batch));
    let params: Named<F> = file.named("param.");
    let mut state = zero();
    for k in 0..2 {
        let step = at(k, &params, &mut state);
        let key = |part: &str| format!("window{k}.{part}");
        assert_fixture(name, &[step.loss], &file, &key("loss"), tolerance::MODEL);
        assert_all(name, &step.acts, &file, &key("act."), tolerance::MODEL);
        assert_all(
            name,
            &step.grads,
            &file,
            &key("grad."),
            tolerance::MODEL_BWD,
        );
    }
    let mut state = zero();
    let trained = train(params, STEPS, LR, MAX_NORM, |k, p| at(k, p, &mut state));
    assert_trained(name, &file, &trained);
}

#[test]
fn language_model_carries_its_state() {
    windows::<f64>();
    windows::<f32>();
}

/// What tools/make_fixtures.py trains with, by the names of the fixture.
fn optimizers() -> [(&'static str, Optimizer); 11] {
    let make = |lr, weight_decay, rule| Optimizer {
        lr,
        weight_decay,
        rule,
    };
    let sgd = |weight_decay, momentum, nesterov| {
        make(0.1, weight_decay, Rule::Sgd { momentum, nesterov })
    };
    let rms = |centered, momentum| {
        make(
            0.01,
            0.0,
            Rule::RmsProp {
                alpha: 0.99,
                eps: 1e-8,
                centered,
                momentum,
            },
        )
    };
    let adam = |weight_decay, decoupled| {
        let rule = Rule::Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decoupled,
        };
        make(0.01, weight_decay, rule)
    };
    [
        ("sgd", sgd(0.0, 0.0, false)),
        ("sgd_weight_decay", sgd(0.05, 0.0, false)),
        ("momentum", sgd(0.0, 0.9, false)),
        ("nesterov", sgd(0.0, 0.9, true)),
        ("adagrad", make(0.1, 0.0, Rule::AdaGrad { eps: 1e-10 })),
        ("rmsprop", rms(false, 0.0)),
        ("rmsprop_centered", rms(true, 0.0)),
        ("rmsprop_momentum", rms(false, 0.9)),
        ("adam", adam(0.0, false)),
        ("adam_weight_decay", adam(0.05, false)),
        ("adamw", adam(0.05, true)),
    ]
}

fn optimizer_steps<F: Float>() {
    let file = Fixture::open("optimizers");
    let gradients: Vec<F> = file.float("input.gradients");
    for (name, optimizer) in optimizers() {
        let mut p: Vec<F> = file.float("input.parameters");
        let mut state = OptimizerState::new(p.len());
        let mut after = vec![];
        for gradient in gradients.chunks(p.len()) {
            optimizer.step(&mut state, &mut p, gradient);
            after.extend_from_slice(&p);
        }
        assert_fixture(
            name,
            &after,
            &file,
            &format!("expected.{name}"),
            tolerance::OPTIMIZER,
        );
    }
}

#[test]
fn every_optimizer() {
    optimizer_steps::<f64>();
    optimizer_steps::<f32>();
}

fn clipping<F: Float>() {
    let file = Fixture::open("gradient_clipping");
    for case in ["clipped", "unclipped", "zero"] {
        let mut grads = [0, 1, 2].map(|n| file.float::<F>(&format!("{case}.input.{n}")));
        let max_norm = file.float::<f64>(&format!("{case}.max_norm"))[0];
        let norm = clip_grad_norm(&mut grads.each_mut().map(|g| &mut g[..]), max_norm);
        assert_fixture(
            case,
            &[norm],
            &file,
            &format!("{case}.norm"),
            tolerance::NORM,
        );
        for (n, grad) in grads.iter().enumerate() {
            assert_fixture(
                case,
                grad,
                &file,
                &format!("{case}.expected.{n}"),
                tolerance::NORM,
            );
        }
    }
}

#[test]
fn gradient_clipping() {
    clipping::<f64>();
    clipping::<f32>();
}
