//! The LSTM models against PyTorch: outputs, every gradient by name, ten Adam steps.

mod common;

use common::fixture::{Fixture, bound};
use common::gpu;
use melos::device::Gpu;
use melos::models::lstm::{LstmClassifier, LstmConfig, LstmLanguageModel, SequenceAutoencoder};
use melos::models::{Answers, Autoencoder, Classifier, RecurrentLm, States, Tokens};
use melos::nn::LstmShape;
use melos::ops;
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{ParamStore, Tape, Tensor};

/// Absolute and relative bound for one pass: f32 against PyTorch in f64, sums of a few hundred
/// terms. Both must fail for a value to fail.
const PASS: f32 = 2e-5;
/// After Adam steps: a gradient near zero is normalised by its own size, so rounding in it moves
/// a parameter by up to the learning rate (1e-3) times its relative error.
const TRAINED: f32 = 2e-4;

fn assert_close(what: &str, got: &[f32], want: &[f32], bound: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs();
        assert!(
            error <= bound * (1.0 + w.abs()),
            "{what}[{i}]: {g}, PyTorch has {w}"
        );
    }
}

fn rename_to(head: &'static str) -> impl Fn(&str) -> String {
    move |name| name.replace("linear.", &format!("{head}."))
}

fn config(fixture: &Fixture) -> LstmConfig {
    let embedding = fixture.shape("param.embedding.weight");
    let layers = fixture
        .names("param.lstm.weight_hh_l")
        .iter()
        .filter(|n| !n.contains("reverse"))
        .count();
    LstmConfig {
        vocab_size: embedding[0],
        embedding_size: embedding[1],
        hidden_size: fixture.shape("param.lstm.weight_hh_l0")[1],
        num_layers: layers,
        bidirectional: fixture.has("param.lstm.weight_hh_l0_reverse"),
        head_size: 0,
        cell_clip: if fixture.has("input.cell_clip") {
            fixture.f32("input.cell_clip")[0]
        } else {
            0.0
        },
        embedding_dropout: 0.0,
        layer_dropout: 0.0,
        output_dropout: 0.0,
    }
}

/// Trains as the fixture did and compares the losses, the norms and the parameters it ends with.
struct Trainer<'a> {
    gpu: &'a Gpu,
    fixture: &'a Fixture,
    store: ParamStore,
    rename: Box<dyn Fn(&str) -> String>,
}

impl Trainer<'_> {
    fn gradients(&self, prefix: &str) {
        for name in self.fixture.names(&format!("{prefix}grad.")) {
            let param = self.store.get(&(self.rename)(&name)).unwrap();
            let got = param.grad().unwrap().to_vec::<f32>().unwrap();
            let want = self.fixture.f32(&format!("{prefix}grad.{name}"));
            assert_close(&format!("{prefix}grad.{name}"), &got, &want, PASS);
        }
    }

    fn ten_steps(&self, mut loss_of: impl FnMut(usize, &Tape) -> Tensor) {
        let losses = self.fixture.f32("losses");
        let norms = self.fixture.f32("grad_norms");
        let kind = OptimizerKind::Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        };
        let optimizer = Optimizer::new(self.gpu, kind, &self.store).unwrap();
        let state = StepState::new(self.gpu, 1).unwrap();
        for (k, (&want, &want_norm)) in losses.iter().zip(&norms).enumerate() {
            state.advance(&optimizer, k as u64 + 1, 1e-3).unwrap();
            let tape = Tape::training(self.gpu, state.tensor());
            self.store.zero_grads();
            let loss = loss_of(k, &tape);
            tape.backward(&loss).unwrap();
            let norm = optimizer.step(&self.store, &state, Some(1.0)).unwrap();
            let got = loss.to_vec::<f32>().unwrap();
            assert_close(&format!("loss of step {k}"), &got, &[want], TRAINED);
            let got = norm.to_vec::<f32>().unwrap()[0];
            assert!(
                (got - want_norm).abs() <= TRAINED * want_norm,
                "norm of step {k}: {got} {want_norm}"
            );
        }
        for name in self.fixture.names("final.") {
            let got = self
                .store
                .get(&(self.rename)(&name))
                .unwrap()
                .to_vec::<f32>()
                .unwrap();
            assert_close(
                &format!("final.{name}"),
                &got,
                &self.fixture.f32(&format!("final.{name}")),
                TRAINED,
            );
        }
    }
}

fn trainer<'a>(gpu: &'a Gpu, fixture: &'a Fixture, head: &'static str) -> Trainer<'a> {
    let store = fixture.store(gpu, rename_to(head));
    Trainer {
        gpu,
        fixture,
        store,
        rename: Box::new(rename_to(head)),
    }
}

/// A step state for a single pass, outside of training.
fn still(gpu: &Gpu) -> StepState {
    StepState::new(gpu, 1).unwrap()
}

fn raw_lstm(name: &str) {
    let gpu = &gpu();
    let fixture = Fixture::open(name);
    let rename = |n: &str| format!("lstm.{n}");
    let store = fixture.store(gpu, rename);
    let (x, h0, c0) = (
        fixture.tensor(gpu, "input.x"),
        fixture.tensor(gpu, "input.h0"),
        fixture.tensor(gpu, "input.c0"),
    );
    let stacked = fixture.shape("input.h0");
    let bidirectional = fixture.has("param.weight_hh_l0_reverse");
    let shape = LstmShape {
        inputs: x.dims()[2],
        hidden: stacked[2],
        layers: stacked[0] / (1 + usize::from(bidirectional)),
        bidirectional,
        cell_clip: 0.0,
        dropout: 0.0,
    };
    let layers = bound(&store, |v| v.lstm("lstm", shape));
    let lens = fixture.tensor_u32(gpu, "input.lengths");
    let part = |t: &Tensor, i: usize| {
        let values = t.to_vec::<f32>().unwrap();
        let len = stacked[1] * stacked[2];
        Tensor::from_slice(
            gpu,
            [stacked[1], stacked[2]],
            &values[i * len..(i + 1) * len],
        )
        .unwrap()
    };
    let state: Vec<(Tensor, Tensor)> = (0..stacked[0])
        .map(|i| (part(&h0, i), part(&c0, i)))
        .collect();

    let step = still(gpu);
    let tape = Tape::training(gpu, step.tensor());
    tape.watch(&x);
    for (h, c) in &state {
        tape.watch(h);
        tape.watch(c);
    }
    store.zero_grads();
    let result = layers.forward(&tape, &x, &lens, Some(&state)).unwrap();

    // PyTorch writes zeros past a row's end, where ours repeats the last state.
    let lengths = fixture.u32("input.lengths");
    let width = result.out.dims()[2];
    let inside = |i: usize| i / width / lengths.len() < lengths[i / width % lengths.len()] as usize;
    let masked = |mut values: Vec<f32>| {
        values
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| !inside(*i))
            .for_each(|(_, v)| *v = 0.0);
        values
    };
    assert_close(
        "output",
        &masked(result.out.to_vec().unwrap()),
        &fixture.f32("act.output"),
        PASS,
    );
    let (want_h, want_c) = (fixture.f32("act.h_n"), fixture.f32("act.c_n"));
    let part_len = stacked[1] * stacked[2];
    for (i, (h, c)) in result.finals.iter().enumerate() {
        let range = i * part_len..(i + 1) * part_len;
        assert_close(
            "h_n",
            &h.to_vec::<f32>().unwrap(),
            &want_h[range.clone()],
            PASS,
        );
        assert_close("c_n", &c.to_vec::<f32>().unwrap(), &want_c[range], PASS);
    }

    // loss = Σ output·coef.output + Σ h_n·coef.h_n + Σ c_n·coef.c_n
    let dot = |t: &Tensor, coef: &[f32]| {
        let coef = Tensor::from_slice(gpu, t.shape().clone(), coef).unwrap();
        ops::sum_all(&tape, &ops::mul(&tape, t, &coef).unwrap()).unwrap()
    };
    let mut loss = dot(&result.out, &masked(fixture.f32("coef.output")));
    let (coef_h, coef_c) = (fixture.f32("coef.h_n"), fixture.f32("coef.c_n"));
    for (i, (h, c)) in result.finals.iter().enumerate() {
        let range = i * part_len..(i + 1) * part_len;
        loss = ops::add(&tape, &loss, &dot(h, &coef_h[range.clone()])).unwrap();
        loss = ops::add(&tape, &loss, &dot(c, &coef_c[range])).unwrap();
    }
    assert_close(
        "loss",
        &loss.to_vec::<f32>().unwrap(),
        &fixture.f32("loss"),
        PASS * 4.0,
    );
    let mut watched = vec![&x];
    watched.extend(state.iter().flat_map(|(h, c)| [h, c]));
    let grads = tape.backward_with_inputs(&loss, &watched).unwrap();
    let host = |i: usize| grads[i].as_ref().unwrap().to_vec::<f32>().unwrap();
    assert_close("grad.x", &host(0), &fixture.f32("grad.x"), PASS);
    let (want_h, want_c) = (fixture.f32("grad.h0"), fixture.f32("grad.c0"));
    for i in 0..state.len() {
        let range = i * part_len..(i + 1) * part_len;
        assert_close("grad.h0", &host(1 + 2 * i), &want_h[range.clone()], PASS);
        assert_close("grad.c0", &host(2 + 2 * i), &want_c[range], PASS);
    }
    for name in fixture.names("param.") {
        let got = store
            .get(&rename(&name))
            .unwrap()
            .grad()
            .unwrap()
            .to_vec::<f32>()
            .unwrap();
        assert_close(&name, &got, &fixture.f32(&format!("grad.{name}")), PASS);
    }
}

#[test]
fn one_layer_is_pytorchs() {
    raw_lstm("lstm_1layer");
}

#[test]
fn two_bidirectional_layers_are_pytorchs() {
    raw_lstm("lstm_2layer_bidirectional");
}

/// Labels of `u32::MAX` do not count.
fn mean_weights(targets: &[u32]) -> Vec<f32> {
    let valid = targets.iter().filter(|&&t| t != u32::MAX).count() as f32;
    targets
        .iter()
        .map(|&t| if t == u32::MAX { 0.0 } else { 1.0 / valid })
        .collect()
}

fn classifier(name: &str) {
    let gpu = &gpu();
    let fixture = Fixture::open(name);
    let trainer = trainer(gpu, &fixture, "classifier");
    let classes = fixture.shape("param.linear.weight")[0];
    let model = bound(&trainer.store, |v| {
        LstmClassifier::new(v, &config(&fixture), classes)
    });
    let ids = fixture.ids(gpu, "input.ids");
    let lens = fixture.tensor_u32(gpu, "input.lengths");
    let labels = fixture.u32("input.labels");
    // With the linear gain every state is classified, with the weights of the fixture.
    let (targets, weights) = if fixture.has("input.row_weights") {
        let steps = fixture.shape("input.ids")[0];
        (labels.repeat(steps), fixture.f32("input.row_weights"))
    } else {
        (labels.clone(), mean_weights(&labels))
    };
    let targets = Tensor::from_slice(gpu, [targets.len()], &targets).unwrap();
    let weights = Tensor::from_slice(gpu, [weights.len()], &weights).unwrap();
    let inputs = Tokens::new(&ids, &lens);
    let answers = Answers::classes(&targets, &weights);
    let loss_of = |tape: &Tape| model.loss(tape, &inputs, &answers).unwrap();

    if !fixture.has("input.row_weights") {
        let logits = model.logits(&Tape::inference(gpu), &inputs).unwrap();
        assert_close(
            "logits",
            &logits.to_vec::<f32>().unwrap(),
            &fixture.f32("act.logits"),
            PASS,
        );
    }
    let step = still(gpu);
    let tape = Tape::training(gpu, step.tensor());
    trainer.store.zero_grads();
    let loss = loss_of(&tape);
    assert_close(
        "loss",
        &loss.to_vec::<f32>().unwrap(),
        &fixture.f32("loss"),
        PASS,
    );
    tape.backward(&loss).unwrap();
    trainer.gradients("");
    trainer.ten_steps(|_, tape| loss_of(tape));
}

#[test]
fn classifier_is_pytorchs() {
    classifier("classifier");
}

#[test]
fn classifier_leaves_out_rows_without_label() {
    classifier("classifier_ignored_label");
}

#[test]
fn classifier_with_cell_clip_is_the_textbooks() {
    classifier("classifier_cell_clip");
}

#[test]
fn classifier_of_two_bidirectional_layers_is_pytorchs() {
    classifier("classifier_2layer_bidirectional");
}

#[test]
fn classifier_with_linear_gain_is_pytorchs() {
    classifier("classifier_linear_gain");
}

#[test]
fn language_model_is_pytorchs_and_carries_its_state() {
    let gpu = &gpu();
    let fixture = Fixture::open("language_model");
    let trainer = trainer(gpu, &fixture, "decoder");
    let model = bound(&trainer.store, |v| {
        LstmLanguageModel::new(v, &config(&fixture))
    });
    let ids = fixture.u32("input.ids");
    let window = fixture.u32("input.window")[0] as usize;
    let rows = fixture.shape("input.ids")[1];
    let lens = Tensor::from_slice(gpu, [rows], &vec![window as u32; rows]).unwrap();
    let count = window * rows;
    let weights = Tensor::from_slice(gpu, [count], &vec![1.0 / count as f32; count]).unwrap();
    let loss_of = |k: usize, tape: &Tape, states: &States| {
        let at = k * window * rows;
        let input = ops::TokenIds::from_host(gpu, window, rows, &ids[at..at + count]).unwrap();
        let targets = Tensor::from_slice(gpu, [count], &ids[at + rows..at + rows + count]).unwrap();
        model
            .loss(
                tape,
                &Tokens::new(&input, &lens),
                states,
                &targets,
                &weights,
            )
            .unwrap()
    };

    let step = still(gpu);
    let mut states = States::new();
    for k in 0..2 {
        let tape = Tape::training(gpu, step.tensor());
        trainer.store.zero_grads();
        let (loss, finals) = loss_of(k, &tape, &states);
        let want = fixture.f32(&format!("window{k}.loss"));
        assert_close("loss", &loss.to_vec::<f32>().unwrap(), &want, PASS);
        let want = fixture.f32(&format!("window{k}.act.h_n"));
        assert_close("h_n", &finals[0].0.to_vec::<f32>().unwrap(), &want, PASS);
        tape.backward(&loss).unwrap();
        trainer.gradients(&format!("window{k}."));
        states = finals;
    }

    let mut states = States::new();
    trainer.ten_steps(|k, tape| {
        let (loss, finals) = loss_of(k, tape, &states);
        states = finals;
        loss
    });
}

#[test]
fn sequence_autoencoder_is_pytorchs() {
    let gpu = &gpu();
    let fixture = Fixture::open("sequence_autoencoder");
    let trainer = trainer(gpu, &fixture, "decoder");
    let model = bound(&trainer.store, |v| {
        SequenceAutoencoder::new(v, &config(&fixture))
    });
    let source = fixture.ids(gpu, "input.ids");
    let shifted = fixture.ids(gpu, "input.decoder_ids");
    let targets = fixture.u32("input.decoder_targets");
    let weights = Tensor::from_slice(gpu, [targets.len()], &mean_weights(&targets)).unwrap();
    let targets = Tensor::from_slice(gpu, [targets.len()], &targets).unwrap();
    let (lens, shifted_lens) = (
        fixture.tensor_u32(gpu, "input.lengths"),
        fixture.tensor_u32(gpu, "input.decoder_lengths"),
    );
    let source = Tokens::new(&source, &lens);
    let shifted = Tokens::new(&shifted, &shifted_lens);
    let loss_of = |tape: &Tape| {
        let loss = model.loss(tape, &source, &shifted, &targets, &weights);
        loss.unwrap()
    };
    let step = still(gpu);
    let tape = Tape::training(gpu, step.tensor());
    trainer.store.zero_grads();
    let loss = loss_of(&tape);
    assert_close(
        "loss",
        &loss.to_vec::<f32>().unwrap(),
        &fixture.f32("loss"),
        PASS,
    );
    tape.backward(&loss).unwrap();
    trainer.gradients("");
    trainer.ten_steps(|_, tape| loss_of(tape));
}
