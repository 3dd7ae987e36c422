//! The training steps that are timed: T1, an LSTM language model, T2, a small BERT's masked LM, T3,
//! BERT-base with LoRA on queries and values, both also with activations and frozen weights in f16,
//! T4, an LSTM classifier, T5, a small Llama with LoRA on all linear layers, T6, the same on packed
//! matrices, T7, ResNet-18, and S1 and S2, the LSTMs small (the demo's sizes and those of `--scale small`).
//! `tools/compare` has T1 to T6 in other frameworks.

mod bert;
mod llama;
mod pictures;
pub mod tiny;
mod tokens;

use crate::device::{Gpu, Recording};
use crate::error::Result;
use crate::models::lstm::{LstmClassifier, LstmConfig, LstmLanguageModel};
use crate::models::{Answers, Classifier, RecurrentLm, Tokens};
use crate::nn::Vars;
use crate::ops::TokenIds;
use crate::optim::{LossScale, Optimizer, OptimizerKind, StepState};
use crate::tensor::{DType, ParamSpec, ParamStore, Rule, Tape, Tensor};
pub(super) use tokens::tokens;

const BATCH: usize = 32;

/// A model and a batch's length.
#[derive(Clone, Copy)]
struct Sizes {
    vocab: usize,
    embedding: usize,
    hidden: usize,
    steps: usize,
}

fn config(sizes: Sizes) -> LstmConfig {
    LstmConfig {
        vocab_size: sizes.vocab,
        embedding_size: sizes.embedding,
        hidden_size: sizes.hidden,
        num_layers: 1,
        bidirectional: false,
        head_size: 0,
        cell_clip: 0.0,
        embedding_dropout: 0.0,
        layer_dropout: 0.0,
        output_dropout: 0.0,
    }
}

/// What trains: parameters, their optimiser, and the precision of activations.
pub(super) struct Training {
    gpu: Gpu,
    pub(super) store: ParamStore,
    optimizer: Optimizer,
    state: StepState,
    precision: DType,
}

impl Training {
    /// All parameters in f32.
    pub(super) fn new(gpu: &Gpu, v: &Vars) -> Result<Training> {
        Training::with(gpu, v, OptimizerKind::ADAM, DType::F32, |_| true)
    }

    /// Only those parameters that `trained` names, with activations, and the matrices of the
    /// others, in `precision`.
    fn with(
        gpu: &Gpu,
        v: &Vars,
        kind: OptimizerKind,
        precision: DType,
        trained: impl Fn(&str) -> bool,
    ) -> Result<Training> {
        let frozen = |spec: &ParamSpec| match spec.shape.0.len() {
            2 => precision,
            _ => DType::F32,
        };
        Training::of(gpu, v, kind, (precision, &frozen), trained)
    }

    /// The same with what the others are held in as `frozen` says.
    fn of(
        gpu: &Gpu,
        v: &Vars,
        kind: OptimizerKind,
        (precision, frozen): (DType, &dyn Fn(&ParamSpec) -> DType),
        trained: impl Fn(&str) -> bool,
    ) -> Result<Training> {
        let store = v.store_with(gpu, 1, |spec| {
            let trained = trained(&spec.name);
            Rule {
                lr_scale: f32::from(u8::from(trained)),
                decays: true,
                level: 0,
                dtype: if trained { DType::F32 } else { frozen(spec) },
            }
        })?;
        let mut optimizer = Optimizer::new(gpu, kind, &store)?;
        if precision == DType::F16 {
            // Small enough that no step is left out while the loss must fall.
            let scale = LossScale::dynamic(gpu, 1024.0, LossScale::INTERVAL)?;
            optimizer = optimizer.with_loss_scale(scale);
        }
        Ok(Training {
            gpu: gpu.clone(),
            store,
            optimizer,
            state: StepState::new(gpu, 1)?,
            precision,
        })
    }

    /// A step that lowers this loss.
    pub(super) fn record(self, loss: impl FnOnce(&Tape) -> Result<Tensor>) -> Result<Step> {
        let (recording, loss) = self.gpu.record(|| {
            let (state, scale) = (self.state.tensor(), self.optimizer.loss_scale());
            let tape = match self.precision {
                DType::F16 => Tape::mixed(&self.gpu, state, scale.tensor())?,
                _ => Tape::training(&self.gpu, state),
            };
            let loss = loss(&tape)?;
            tape.backward(&loss)?;
            self.optimizer.step(&self.store, &self.state, Some(5.0))?;
            Ok(loss)
        })?;
        Ok(Step {
            training: self,
            recording,
            loss,
            number: 0,
        })
    }
}

/// A recorded training step and what it updates.
pub struct Step {
    training: Training,
    /// Its commands.
    pub recording: Recording,
    loss: Tensor,
    /// Steps run so far.
    pub number: u64,
}

impl Step {
    /// Runs a step and waits for its loss.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run(&mut self) -> Result<f32> {
        self.number += 1;
        let Training {
            gpu,
            optimizer,
            state,
            ..
        } = &self.training;
        state.advance(optimizer, self.number, 1e-3)?;
        gpu.replay(&self.recording)?;
        Ok(self.loss.to_vec::<f32>()?[0])
    }

    /// The context that holds it.
    pub fn gpu(&self) -> &Gpu {
        &self.training.gpu
    }
}

fn language_model(gpu: &Gpu, sizes: Sizes) -> Result<Step> {
    let v = Vars::new();
    let model = LstmLanguageModel::new(&v, &config(sizes))?;
    let training = Training::new(gpu, &v)?;
    let count = sizes.steps * BATCH;
    let text = tokens(sizes.vocab, count + BATCH);
    let ids = TokenIds::from_host(gpu, sizes.steps, BATCH, &text[..count])?;
    let targets = Tensor::from_slice(gpu, [count], &text[BATCH..])?;
    let weights = Tensor::from_slice(gpu, [count], &vec![1.0 / count as f32; count])?;
    let lens = Tensor::from_slice(gpu, [BATCH], &[sizes.steps as u32; BATCH])?;
    let inputs = Tokens::new(&ids, &lens);
    training.record(|tape| Ok(model.loss(tape, &inputs, &[], &targets, &weights)?.0))
}

/// Of two classes.
fn classifier(gpu: &Gpu, sizes: Sizes) -> Result<Step> {
    let v = Vars::new();
    let model = LstmClassifier::new(&v, &config(sizes), 2)?;
    let training = Training::new(gpu, &v)?;
    let ids = TokenIds::from_host(
        gpu,
        sizes.steps,
        BATCH,
        &tokens(sizes.vocab, sizes.steps * BATCH),
    )?;
    let lens = Tensor::from_slice(gpu, [BATCH], &[sizes.steps as u32; BATCH])?;
    let labels: Vec<u32> = (0..BATCH as u32).map(|b| b % 2).collect();
    let targets = Tensor::from_slice(gpu, [BATCH], &labels)?;
    let weights = Tensor::from_slice(gpu, [BATCH], &[1.0 / BATCH as f32; BATCH])?;
    let inputs = Tokens::new(&ids, &lens);
    let answers = Answers::classes(&targets, &weights);
    training.record(|tape| model.loss(tape, &inputs, &answers))
}

type Build = fn(&Gpu, Sizes) -> Result<Step>;
type BuildOn = Box<dyn Fn(&Gpu) -> Result<Step>>;

/// A step to time.
pub struct Case {
    pub name: String,
    /// Tokens, or pictures, of a batch.
    pub tokens: usize,
    /// Makes it; all its memory is of the given context.
    pub build: BuildOn,
}

fn lstm(task: &str, build: Build, [vocab, embedding, hidden, steps]: [usize; 4]) -> Case {
    let sizes = Sizes {
        vocab,
        embedding,
        hidden,
        steps,
    };
    Case {
        name: format!("{task}_V{vocab}_E{embedding}_H{hidden}_B{BATCH}_T{steps}"),
        tokens: steps * BATCH,
        build: Box::new(move |gpu| build(gpu, sizes)),
    }
}

/// All of them that `gpu` can run; a name begins with the step's short one and an underscore, f32
/// before f16.
pub fn cases(gpu: &Gpu) -> Vec<Case> {
    let mut cases = vec![
        lstm("T1_lstm_lm", language_model, [10_000, 256, 512, 64]),
        bert::masked_lm(DType::F32),
        bert::lora(DType::F32),
        lstm("T4_lstm_classifier", classifier, [10_000, 256, 512, 256]),
        llama::lora(false),
        llama::lora(true),
        pictures::resnet(DType::F32),
        lstm("S1_lstm_lm", language_model, [4_000, 64, 128, 32]),
        lstm("S2_lstm_classifier", classifier, [10_000, 128, 256, 64]),
    ];
    if gpu.caps().f16 {
        cases.push(bert::masked_lm(DType::F16));
        cases.push(bert::lora(DType::F16));
        cases.push(pictures::resnet(DType::F16));
    }
    cases
}
