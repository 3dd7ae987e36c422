//! Training runs of a hundred steps on the texts in `tests/data`: the loss falls as far as it
//! should, and along PyTorch's curve from the same parameters over the same batches.

mod common;

use common::fixture::{Fixture, bound};
use common::gpu;
use melos::device::Gpu;
use melos::models::lstm::{LstmClassifier, LstmConfig, LstmLanguageModel, SequenceAutoencoder};
use melos::models::{Answers, Autoencoder, Classifier, RecurrentLm, States, Tokens};
use melos::ops::{TokenIds, TokenIndex};
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{ParamStore, Tape, Tensor};

/// How far a loss may be from PyTorch's, relative to 1 + loss, at step `k` (from 0).
///
/// Both start from the same f32 numbers; PyTorch computes in f64, melos in f32. A loss is a mean
/// over at most 72 softmaxes, good to a few units of 6e-8. Adam divides a gradient by its own size,
/// which turns the relative error of a near-zero gradient into that share of a full step
/// (lr = 0.01), and each step trains on from there: the distance grows with the steps. Mesa's
/// software driver stays below 7e-7 throughout; its exp and tanh are exact to an ulp, where Vulkan
/// allows (3 + 2·|x|) ulp, an order of magnitude more. A wrong bias correction, a lost state or a
/// padded position that counts is seen at 1e-3 and above.
fn allowance(k: usize) -> f32 {
    2e-6 + 2e-7 * k as f32
}

fn config(fixture: &Fixture) -> LstmConfig {
    let embedding = fixture.shape("param.embedding.weight");
    LstmConfig {
        vocab_size: embedding[0],
        embedding_size: embedding[1],
        hidden_size: fixture.shape("param.lstm.weight_hh_l0")[1],
        num_layers: 1,
        bidirectional: false,
        head_size: 0,
        cell_clip: 0.0,
        embedding_dropout: 0.0,
        layer_dropout: 0.0,
        output_dropout: 0.0,
    }
}

/// Trains as the fixture did; the mean of the last ten losses must be below `threshold`.
fn follow(
    gpu: &Gpu,
    fixture: &Fixture,
    store: &ParamStore,
    threshold: f32,
    mut loss_of: impl FnMut(usize, &Tape) -> Tensor,
) {
    let kind = OptimizerKind::Adam {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
    };
    let optimizer = Optimizer::new(gpu, kind, store).unwrap();
    let state = StepState::new(gpu, 1).unwrap();
    let want = fixture.f32("losses");
    let mut worst = (0.0, 0);
    let mut losses = Vec::new();
    for (k, &want) in want.iter().enumerate() {
        state.advance(&optimizer, k as u64 + 1, 1e-2).unwrap();
        store.zero_grads();
        let tape = Tape::training(gpu, state.tensor());
        let loss = loss_of(k, &tape);
        tape.backward(&loss).unwrap();
        optimizer.step(store, &state, Some(1.0)).unwrap();
        let got = loss.to_vec::<f32>().unwrap()[0];
        let distance = (got - want).abs() / (1.0 + want);
        assert!(
            distance <= allowance(k),
            "loss of step {k}: {got}, PyTorch has {want}"
        );
        if distance > worst.0 {
            worst = (distance, k);
        }
        losses.push(got);
    }
    println!("largest distance {:.1e} at step {}", worst.0, worst.1);
    let last = losses[losses.len() - 10..].iter().sum::<f32>() / 10.0;
    assert!(last < threshold, "{last} after {} steps", losses.len());
}

fn decoder(name: &str) -> String {
    name.replace("linear.", "decoder.")
}

/// Weights that make a sum the mean over the targets that count.
fn mean_weights(targets: &[u32]) -> Vec<f32> {
    let count = targets.iter().filter(|&&t| t != u32::MAX).count();
    let share = 1.0 / count as f32;
    let weight = |&t: &u32| if t == u32::MAX { 0.0 } else { share };
    targets.iter().map(weight).collect()
}

/// Batch `k` of `input.NAME`, which are stacked and come round again.
fn batch(fixture: &Fixture, name: &str, k: usize) -> Vec<u32> {
    let shape = fixture.shape(name);
    let size: usize = shape[1..].iter().product();
    let at = k % shape[0] * size;
    fixture.u32(name)[at..at + size].to_vec()
}

#[test]
fn language_model_learns_along_pytorchs_curve() {
    let gpu = &gpu();
    let fixture = Fixture::open("convergence_lm");
    let store = fixture.store(gpu, decoder);
    let model = bound(&store, |v| LstmLanguageModel::new(v, &config(&fixture)));
    let ids = fixture.u32("input.ids");
    let window = fixture.u32("input.window")[0] as usize;
    let rows = fixture.shape("input.ids")[1];
    let count = window * rows;
    let lens = Tensor::from_slice(gpu, [rows], &vec![window as u32; rows]).unwrap();
    let weights = Tensor::from_slice(gpu, [count], &vec![1.0 / count as f32; count]).unwrap();
    let mut states = States::new();
    // A model that knew only how frequent each word is would stay above 4.
    follow(gpu, &fixture, &store, 2.5, |k, tape| {
        let at = k * count;
        let input = TokenIds::from_host(gpu, window, rows, &ids[at..at + count]).unwrap();
        let next = &ids[at + rows..at + rows + count];
        let targets = Tensor::from_slice(gpu, [count], next).unwrap();
        let (loss, finals) = model
            .loss(
                tape,
                &Tokens::new(&input, &lens),
                &states,
                &targets,
                &weights,
            )
            .unwrap();
        states = finals;
        loss
    });
}

#[test]
fn autoencoder_learns_along_pytorchs_curve() {
    const BOS: u32 = 1;
    const EOS: u32 = 2;
    let gpu = &gpu();
    let fixture = Fixture::open("convergence_sa");
    let store = fixture.store(gpu, decoder);
    let model = bound(&store, |v| SequenceAutoencoder::new(v, &config(&fixture)));
    let shape = fixture.shape("input.ids");
    let (time, rows) = (shape[1], shape[2]);
    follow(gpu, &fixture, &store, 2.1, |k, tape| {
        let ids = batch(&fixture, "input.ids", k);
        let lens = batch(&fixture, "input.lengths", k);
        let longer: Vec<u32> = lens.iter().map(|n| n + 1).collect();
        let mut shifted = vec![BOS; rows];
        shifted.extend_from_slice(&ids);
        let target = |i: usize| {
            let (t, row) = (i / rows, i % rows);
            match t.cmp(&(lens[row] as usize)) {
                std::cmp::Ordering::Less => ids[i],
                std::cmp::Ordering::Equal => EOS,
                std::cmp::Ordering::Greater => u32::MAX,
            }
        };
        let targets: Vec<u32> = (0..(time + 1) * rows).map(target).collect();
        let tensor = |values: &[u32]| Tensor::from_slice(gpu, [values.len()], values).unwrap();
        let weights = mean_weights(&targets);
        let weights = Tensor::from_slice(gpu, [weights.len()], &weights).unwrap();
        let ids = TokenIds::from_host(gpu, time, rows, &ids).unwrap();
        let shifted = TokenIds::from_host(gpu, time + 1, rows, &shifted).unwrap();
        let (lens, longer) = (tensor(&lens), tensor(&longer));
        let (source, shifted) = (Tokens::new(&ids, &lens), Tokens::new(&shifted, &longer));
        let loss = model.loss(tape, &source, &shifted, &tensor(&targets), &weights);
        loss.unwrap()
    });
}

#[test]
fn classifier_learns_along_pytorchs_curve() {
    let gpu = &gpu();
    let fixture = Fixture::open("convergence_classifier");
    let store = fixture.store(gpu, |n| n.replace("linear.", "classifier."));
    let classes = fixture.shape("param.linear.weight")[0];
    let model = bound(&store, |v| {
        LstmClassifier::new(v, &config(&fixture), classes)
    });
    let shape = fixture.shape("input.ids");
    let (time, rows) = (shape[1], shape[2]);
    let weights = Tensor::from_slice(gpu, [rows], &vec![1.0 / rows as f32; rows]).unwrap();
    // Guessing gives 0.693.
    follow(gpu, &fixture, &store, 0.02, |k, tape| {
        let tensor = |name: &str| Tensor::from_slice(gpu, [rows], &batch(&fixture, name, k));
        let ids = TokenIds::from_host(gpu, time, rows, &batch(&fixture, "input.ids", k)).unwrap();
        let lens = tensor("input.lengths").unwrap();
        let targets = tensor("input.labels").unwrap();
        let answers = Answers::classes(&targets, &weights);
        let loss = model.loss(tape, &Tokens::new(&ids, &lens), &answers);
        loss.unwrap()
    });
}

/// What the pool promises, on a whole training step: recorded, replayed, its loss read back.
#[test]
fn memory_stays_flat_over_two_hundred_training_steps() {
    let gpu = &gpu();
    let fixture = Fixture::open("convergence_lm");
    let store = fixture.store(gpu, decoder);
    let model = bound(&store, |v| LstmLanguageModel::new(v, &config(&fixture)));
    let ids = fixture.u32("input.ids");
    let window = fixture.u32("input.window")[0] as usize;
    let rows = fixture.shape("input.ids")[1];
    let count = window * rows;
    let input = TokenIds::empty(gpu, window, rows).unwrap();
    let targets = Tensor::from_slice(gpu, [count], &vec![0u32; count]).unwrap();
    let full = vec![window as u32; rows];
    let lens = Tensor::from_slice(gpu, [rows], &full).unwrap();
    let weights = Tensor::from_slice(gpu, [count], &vec![1.0 / count as f32; count]).unwrap();
    let kind = OptimizerKind::Momentum {
        momentum: 0.9,
        weight_decay: 0.0,
    };
    let optimizer = Optimizer::new(gpu, kind, &store).unwrap();
    let state = StepState::new(gpu, 1).unwrap();
    let pass = || {
        let tape = Tape::training(gpu, state.tensor());
        let tokens = Tokens::new(&input, &lens);
        let (loss, _) = model.loss(&tape, &tokens, &[], &targets, &weights)?;
        tape.backward(&loss)?;
        optimizer.step(&store, &state, Some(1.0))?;
        Ok(loss)
    };
    let (recording, recorded) = gpu.record(pass).unwrap();
    let mut after_five = None;
    for k in 0..200 {
        let at = k % 100 * count;
        let tokens = &ids[at..at + count];
        state.advance(&optimizer, k as u64 + 1, 1e-2).unwrap();
        input
            .write(tokens, &TokenIndex::new(tokens, &full))
            .unwrap();
        targets.write(&ids[at + rows..at + rows + count]).unwrap();
        // Every other step eagerly: both ways of running must give back what they take.
        let loss = if k % 2 == 0 {
            gpu.replay(&recording).unwrap();
            recorded.clone()
        } else {
            pass().unwrap()
        };
        let value = loss.to_vec::<f32>().unwrap()[0];
        assert!(value.is_finite());
        drop(loss);
        gpu.wait().unwrap();
        match (k, &after_five) {
            (5, _) => after_five = Some(gpu.memory()),
            (_, Some(before)) => assert_eq!(&gpu.memory(), before, "after step {k}"),
            _ => {}
        }
    }
}
