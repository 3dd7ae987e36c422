//! Training with activations in f16: what it learns, how the loss scale keeps it going, what it saves.

use melos::device::Gpu;
use melos::models::bert::{self, BertConfig};
use melos::models::{Classifier, MaskedLm, MaskedTokens, Tokens};
use melos::nn::{LoraPlan, LoraUpdate, Vars};
use melos::ops::{RowSelection, TokenIds};
use melos::optim::{LossScale, StepState};
use melos::tensor::{DType, Init, ParamSpec, ParamStore, Rule, Tape, Tensor};

use crate::common::gpu;
use crate::reference::{Data, assert_same_bits};
use crate::training::{Run, bert, gpt2, parts};

/// The mean of the last ten losses.
fn last(losses: &[f32]) -> f32 {
    losses[losses.len() - 10..].iter().sum::<f32>() / 10.0
}

/// Trains both, and holds the f16 curve to the f32 one: its end, and its whole way in the mean.
#[track_caller]
fn alike(whole: &Run, mixed: &Run, lr: f32) {
    let steps = 120;
    let ((whole, _), (half, _)) = (whole.train(steps, lr), mixed.train(steps, lr));
    let apart = whole.iter().zip(&half).map(|(a, b)| (a - b).abs());
    let apart = apart.sum::<f32>() / steps as f32;
    let skipped = mixed.optimizer.skipped_steps().unwrap();
    let scale = mixed
        .optimizer
        .loss_scale()
        .tensor()
        .to_vec::<f32>()
        .unwrap();
    println!(
        "f32 ends at {}, f16 at {}, {apart} apart in the mean; {skipped} steps left out, scale {scale:?}",
        last(&whole),
        last(&half)
    );
    assert!(last(&whole) < 0.5 * whole[0], "f32 learns: {whole:?}");
    assert!(
        (last(&whole) - last(&half)).abs() < 0.02 * whole[0],
        "{half:?}"
    );
    assert!(apart < 0.02 * whole[0], "{apart} apart");
    // From 2^16 down to where gradients fit.
    assert!(skipped <= 12, "{skipped} steps left out");
}

#[test]
fn models_learn_in_f16_what_they_learn_in_f32() {
    let none = LoraPlan::default();
    let begun = |run: Run| run.mixed(LossScale::INITIAL, LossScale::INTERVAL);
    alike(
        &bert(0.1, &none, false),
        &begun(bert(0.1, &none, false)),
        3e-3,
    );
    alike(
        &gpt2(0.1, &none, true),
        &begun(gpt2(0.1, &none, true)),
        3e-3,
    );
}

#[test]
fn the_loss_scale_grows_while_nothing_overflows() {
    let run = gpt2(0.0, &LoraPlan::default(), false).mixed(1.0, 5);
    run.train(11, 1e-3);
    assert_eq!(run.optimizer.skipped_steps().unwrap(), 0);
    let scale = run.optimizer.loss_scale().tensor().to_vec::<f32>().unwrap();
    assert_eq!(scale, [4.0, 1.0]);
}

#[test]
fn a_step_that_overflows_changes_nothing_but_the_scale() {
    let steps = 3;
    for plan in [LoraPlan::default(), parts()] {
        // Nothing in f16 is above 65,504.
        let scale = 2.0f32.powi(60);
        let run = gpt2(0.1, &plan, false).mixed(scale, 2000);
        let before = run.parameters();
        let (losses, _) = run.train(steps, 1e-2);
        assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
        for ((name, before), (_, after)) in before.iter().zip(&run.parameters()) {
            assert_same_bits(name, before, after);
        }
        for state in run.optimizer.state().concat() {
            assert!(state.to_vec::<f32>().unwrap().iter().all(|v| *v == 0.0));
        }
        assert_eq!(u64::from(run.optimizer.skipped_steps().unwrap()), steps);
        let now = run.optimizer.loss_scale().tensor().to_vec::<f32>().unwrap();
        assert_eq!(now, [scale / 8.0, 0.0]);
    }
}

/// T2 of the benches, recorded: bytes beside what stands for itself.
fn activations_of_t2(half: bool) -> u64 {
    let (batch, time) = (16, 128);
    let gpu = gpu();
    let config = BertConfig {
        vocab_size: 8192,
        hidden_size: 256,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        intermediate_size: 1024,
        ..BertConfig::default()
    };
    let v = Vars::new();
    let model = bert::masked_lm(&v, &config).unwrap();
    let _store = v.store(&gpu, 1, |_| 1.0).unwrap();
    let ids = Data::new(1).ids(batch * time, 8192);
    let ids = TokenIds::from_host(&gpu, batch, time, &ids).unwrap();
    let lens = Tensor::from_slice(&gpu, [batch], &vec![time as u32; batch]).unwrap();
    let rows: Vec<u32> = (0..(batch * time) as u32).step_by(7).collect();
    let selection = RowSelection::empty(&gpu, batch * time, rows.len()).unwrap();
    selection.write(&rows).unwrap();
    let targets = Tensor::from_slice(&gpu, [rows.len()], &rows).unwrap();
    let weights = Tensor::from_slice(&gpu, [rows.len()], &vec![1e-3f32; rows.len()]).unwrap();
    let state = StepState::new(&gpu, 1).unwrap();
    let scale = Tensor::from_slice(&gpu, [1], &[1.0f32]).unwrap();
    let before = gpu.memory().in_use;
    gpu.record(|| {
        let tape = match half {
            true => Tape::mixed(&gpu, state.tensor(), &scale)?,
            false => Tape::training(&gpu, state.tensor()),
        };
        let inputs = Tokens::new(&ids, &lens);
        let masked = MaskedTokens {
            rows: &selection,
            targets: &targets,
            weights: &weights,
        };
        model.loss(&tape, &inputs, &masked)?;
        Ok(tape)
    })
    .map(|(_, tape)| {
        let held = gpu.memory().in_use - before;
        drop(tape);
        held
    })
    .unwrap()
}

#[test]
fn activations_take_half_the_memory() {
    let (whole, half) = (activations_of_t2(false), activations_of_t2(true));
    println!("kept of T2's forward pass: {whole} bytes in f32, {half} in f16");
    assert!((half as f64) < 0.6 * whole as f64, "{half} of {whole}");
}

/// A classifier's adapter on a base in f32 or f16: its parameters' bytes, and its logits.
fn adapted(gpu: &Gpu, dtype: DType) -> (u64, Vec<f32>) {
    let config = BertConfig {
        vocab_size: 300,
        hidden_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 128,
        max_position_embeddings: 16,
        ..BertConfig::default()
    };
    let update = LoraUpdate {
        rank: 4,
        scale: 2.0,
        dropout: 0.0,
        part: None,
    };
    let plan = LoraPlan::of(["bert.encoder.layer.0.attention.self.query"], &update);
    let v = Vars::new();
    let model = bert::classifier(&v, &config).unwrap();
    v.adapt(&plan).unwrap();
    let before = gpu.memory().in_use;
    let rule = |spec: &ParamSpec| {
        let trained = plan.trains(&spec.name);
        let half = !trained && spec.shape.0.len() > 1;
        Rule {
            lr_scale: f32::from(u8::from(trained)),
            decays: true,
            level: 0,
            dtype: if half { dtype } else { DType::F32 },
        }
    };
    let _store = v.store_with(gpu, 3, rule).unwrap();
    let bytes = gpu.memory().in_use - before;
    let ids = TokenIds::from_host(gpu, 4, 16, &Data::new(2).ids(64, 300)).unwrap();
    let lens = Tensor::from_slice(gpu, [4], &[16u32, 9, 1, 16]).unwrap();
    let inputs = Tokens::new(&ids, &lens);
    let logits = model.logits(&Tape::inference(gpu), &inputs).unwrap();
    (bytes, logits.to_vec().unwrap())
}

#[test]
fn the_frozen_base_of_an_adapter_takes_half_the_memory() {
    let gpu = gpu();
    let (whole, logits) = adapted(&gpu, DType::F32);
    let (half, rounded) = adapted(&gpu, DType::F16);
    assert!((half as f64) < 0.56 * whole as f64, "{half} of {whole}");
    for (a, b) in logits.iter().zip(&rounded) {
        assert!((a - b).abs() < 2e-3, "{logits:?} {rounded:?}");
    }
    assert_ne!(logits, rounded, "nothing was rounded");
}

#[test]
fn what_is_trained_must_be_f32() {
    let specs = vec![ParamSpec::new("w", [3, 5], Init::Constant(1.0))];
    let rule = |_: &_| Rule {
        lr_scale: 1.0,
        decays: true,
        level: 0,
        dtype: DType::F16,
    };
    let error = ParamStore::with_rules(&gpu(), specs, 1, rule)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("must be f32, not f16"),
        "{error}"
    );
}
