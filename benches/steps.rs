//! Whole training steps, recorded once and replayed: T1, an LSTM language model, and T4, an LSTM
//! classifier. Throughput is in tokens, so criterion's element rate is tokens/s.
//!
//! `cargo bench --bench steps`

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use melos::Result;
use melos::device::{AdapterChoice, Gpu, Recording};
use melos::models::lstm::{ClassifierInputs, LstmClassifier, LstmConfig, LstmLanguageModel};
use melos::ops::TokenIds;
use melos::optim::{Optimizer, OptimizerKind, StepState};
use melos::tensor::{ParamSpec, ParamStore, Tape, Tensor};

const VOCAB: usize = 10_000;
const BATCH: usize = 32;
const ADAM: OptimizerKind = OptimizerKind::Adam {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.0,
};

fn config() -> LstmConfig {
    LstmConfig {
        vocab_size: VOCAB,
        embedding_size: 256,
        hidden_size: 512,
        num_layers: 1,
        bidirectional: false,
        head_size: 0,
        cell_clip: 0.0,
        embedding_dropout: 0.0,
        layer_dropout: 0.0,
        output_dropout: 0.0,
    }
}

/// Tokens with a long tail, from a linear congruential generator.
fn tokens(count: usize) -> Vec<u32> {
    let mut state = 12345u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    (0..count)
        .map(|_| ((VOCAB as f64).powf(draw()) - 1.0) as u32)
        .collect()
}

/// A recorded training step and what it updates.
struct Step {
    gpu: Gpu,
    store: ParamStore,
    optimizer: Optimizer,
    state: StepState,
    recording: Option<Recording>,
    loss: Option<Tensor>,
    number: u64,
}

impl Step {
    fn new(gpu: &Gpu, specs: Vec<ParamSpec>) -> Result<Step> {
        let gpu = gpu.fork();
        let store = ParamStore::new(&gpu, specs, 1, |_| 1.0)?;
        let optimizer = Optimizer::new(&gpu, ADAM, &store)?;
        let state = StepState::new(&gpu, 1)?;
        Ok(Step {
            gpu,
            store,
            optimizer,
            state,
            recording: None,
            loss: None,
            number: 0,
        })
    }

    fn record(&mut self, loss: impl FnOnce(&Tape, &ParamStore) -> Result<Tensor>) -> Result<()> {
        let (recording, loss) = self.gpu.record(|| {
            let tape = Tape::training(&self.gpu, self.state.tensor());
            let loss = loss(&tape, &self.store)?;
            tape.backward(&loss)?;
            self.optimizer.step(&self.store, &self.state, Some(5.0))?;
            Ok(loss)
        })?;
        (self.recording, self.loss) = (Some(recording), Some(loss));
        Ok(())
    }

    /// Runs a step and waits for its loss.
    fn run(&mut self) -> f32 {
        self.number += 1;
        self.state
            .advance(&self.optimizer, self.number, 1e-3)
            .expect("a step state");
        let recording = self.recording.as_ref().expect("a recording");
        self.gpu.replay(recording).expect("a replay");
        self.loss
            .as_ref()
            .expect("a loss")
            .to_vec::<f32>()
            .expect("a loss")[0]
    }
}

/// T1: language model, B 32, T 64.
fn language_model(gpu: &Gpu) -> Result<Step> {
    const STEPS: usize = 64;
    let mut step = Step::new(gpu, config().decoder_specs())?;
    let gpu = step.gpu.clone();
    let count = STEPS * BATCH;
    let text = tokens(count + BATCH);
    let ids = TokenIds::from_host(&gpu, STEPS, BATCH, &text[..count])?;
    let targets = Tensor::from_slice(&gpu, [count], &text[BATCH..])?;
    let weights = Tensor::from_slice(&gpu, [count], &vec![1.0 / count as f32; count])?;
    let lens = Tensor::from_slice(&gpu, [BATCH], &[STEPS as u32; BATCH])?;
    step.record(|tape, store| {
        let model = LstmLanguageModel::new(store, &config())?;
        Ok(model.loss(tape, &ids, &lens, None, &targets, &weights)?.0)
    })?;
    Ok(step)
}

/// T4: classifier of two classes, B 32, T 256.
fn classifier(gpu: &Gpu) -> Result<Step> {
    const STEPS: usize = 256;
    let mut step = Step::new(gpu, config().classifier_specs(2))?;
    let gpu = step.gpu.clone();
    let ids = TokenIds::from_host(&gpu, STEPS, BATCH, &tokens(STEPS * BATCH))?;
    let lens = Tensor::from_slice(&gpu, [BATCH], &[STEPS as u32; BATCH])?;
    let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
    let targets = Tensor::from_slice(&gpu, [BATCH], &labels)?;
    let weights = Tensor::from_slice(&gpu, [BATCH], &[1.0 / BATCH as f32; BATCH])?;
    step.record(|tape, store| {
        let model = LstmClassifier::new(store, &config())?;
        let inputs = ClassifierInputs {
            ids: &ids,
            lens: &lens,
            targets: &targets,
            weights: &weights,
        };
        model.loss(tape, &inputs)
    })?;
    Ok(step)
}

fn steps(criterion: &mut Criterion) {
    let gpu = Gpu::open(&AdapterChoice::default()).expect("a GPU adapter; see tools/with-vulkan");
    println!("adapter: {}", gpu.caps());
    type Build = fn(&Gpu) -> Result<Step>;
    let cases: [(&str, usize, Build); 2] = [
        (
            "T1_lstm_lm_V10000_E256_H512_B32_T64",
            64 * BATCH,
            language_model,
        ),
        (
            "T4_lstm_classifier_V10000_E256_H512_B32_T256",
            256 * BATCH,
            classifier,
        ),
    ];
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    for (name, tokens, build) in cases {
        group.throughput(Throughput::Elements(tokens as u64));
        let mut step = None;
        group.bench_function(name, |bencher| {
            let step = step.get_or_insert_with(|| {
                let began = Instant::now();
                let mut step = build(&gpu).expect("a step");
                let first = step.run();
                println!(
                    "{name}: first step after {:.2} s",
                    began.elapsed().as_secs_f64()
                );
                // A step that does not learn would be fast for the wrong reason.
                let later = (0..3).map(|_| step.run()).last().expect("a loss");
                assert!(
                    later < first,
                    "{name}: the loss does not fall ({first} to {later})"
                );
                step
            });
            bencher.iter(|| step.run());
        });
        if let Some(step) = &step {
            if std::env::var_os("MELOS_PROFILE").is_some()
                && let Some(recording) = &step.recording
            {
                for time in step.gpu.profile(recording).expect("a profile") {
                    println!(
                        "{:>9.1} ms {:>6} x {}",
                        1e3 * time.seconds,
                        time.count,
                        time.name
                    );
                }
            }
            let peak = step.gpu.memory().peak as f64 / 1048576.0;
            println!("{name}: {peak:.0} MiB of device memory at peak");
        }
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
