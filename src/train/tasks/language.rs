//! Pretraining a language model (LM-LSTM).

use std::sync::Arc;

use serde_json::Value;

use super::data::{Data, Parts};
use super::engine::{Engine, Step, Steps, as_targets, mean_weights, parse_position, position};
use super::model::{Architecture, Description};
use super::network;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::lstm::LstmLanguageModel;
use crate::ops::TokenIds;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::{LmBatch, LmBatches, LmOptions};
use crate::train::config::StageConfig;
use crate::train::metrics::Scores;
use crate::train::state::{HostTensor, TensorMap};
use crate::train::task::{ModelFiles, Split, StepContext, StepInfo, Task, TaskInfo, TaskRequest};

/// First and last state of every layer, for a batch.
type States = Vec<(Tensor, Tensor)>;

/// A window of the stream on the device.
struct Window {
    ids: TokenIds,
    lens: Tensor,
    targets: Tensor,
    weights: Tensor,
}

impl Window {
    fn new(gpu: &Gpu, steps: usize, batch: usize) -> Result<Window> {
        Ok(Window {
            ids: TokenIds::empty(gpu, steps, batch)?,
            lens: Tensor::empty(gpu, [batch], DType::U32)?,
            targets: Tensor::empty(gpu, [steps * batch], DType::U32)?,
            weights: Tensor::empty(gpu, [steps * batch], DType::F32)?,
        })
    }

    /// Uploads a batch; returns how many targets count.
    fn write(&self, batch: &LmBatch) -> Result<usize> {
        let targets = as_targets(&batch.targets);
        let (weights, count) = mean_weights(&targets);
        self.ids.write(&batch.ids, &batch.index)?;
        self.lens.write(&batch.lens)?;
        self.targets.write(&targets)?;
        self.weights.write(&weights)?;
        Ok(count)
    }
}

/// LM-LSTM pretraining.
pub(super) struct LanguageModelTask {
    engine: Engine,
    model: LstmLanguageModel,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    batches: LmBatches,
    /// The state between windows.
    carried: States,
    steps: Steps<Window>,
    scoring: Steps<Window>,
    /// The state between windows while scoring.
    scored: States,
}

fn states(gpu: &Gpu, layers: usize, batch: usize, hidden: usize) -> Result<States> {
    (0..layers)
        .map(|_| {
            Ok((
                Tensor::zeros(gpu, [batch, hidden])?,
                Tensor::zeros(gpu, [batch, hidden])?,
            ))
        })
        .collect()
}

fn clear(states: &States) {
    for (h, c) in states {
        h.clear();
        c.clear();
    }
}

fn keep(states: &States, finals: &States) -> Result<()> {
    for ((h, c), (h_n, c_n)) in states.iter().zip(finals) {
        h.copy_from(h_n)?;
        c.copy_from(c_n)?;
    }
    Ok(())
}

/// Loss of one window; leaves its final state in `states`, where the next one begins.
fn window_loss(
    model: &LstmLanguageModel,
    states: &States,
    tape: &Tape,
    w: &Window,
) -> Result<Tensor> {
    let (loss, finals) = model.loss(tape, &w.ids, &w.lens, Some(states), &w.targets, &w.weights)?;
    keep(states, &finals)?;
    Ok(loss)
}

impl LanguageModelTask {
    pub fn new(gpu: Gpu, data: Arc<Data>, request: &TaskRequest<'_>) -> Result<LanguageModelTask> {
        let stage = request.stage.clone();
        let network = network(&request.config.model, &stage, data.tokenizer.vocab_size());
        let specs = network.decoder_specs();
        let engine = Engine::new(gpu.clone(), network, specs, &data.tokenizer, request)?;
        let model = LstmLanguageModel::new(&engine.store, &engine.network)?;
        let parts = data.text(&stage, request.unit)?;
        let options = LmOptions {
            batch: stage.batch,
            window: stage.bptt,
            shuffle: true,
            word_dropout: stage.dropout(&request.config.model).word,
        };
        let seed = request.unit.seed;
        let batches = LmBatches::new(data.documents.clone(), &parts.train, options, seed)?;
        let (layers, hidden) = (engine.network.num_layers, engine.network.hidden_size);
        let carried = states(&gpu, layers, stage.batch, hidden)?;
        let scored = states(&gpu, layers, stage.batch, hidden)?;
        Ok(LanguageModelTask {
            engine,
            model,
            data,
            parts,
            stage,
            batches,
            carried,
            steps: Steps::new(),
            scoring: Steps::new(),
            scored,
        })
    }

    fn carried_tensors(&self) -> Vec<(String, Tensor)> {
        let named = |(i, (h, c)): (usize, &(Tensor, Tensor))| {
            [
                (format!("carried.h.{i}"), h.clone()),
                (format!("carried.c.{i}"), c.clone()),
            ]
        };
        self.carried.iter().enumerate().flat_map(named).collect()
    }
}

impl Task for LanguageModelTask {
    fn describe(&self) -> TaskInfo {
        TaskInfo {
            summary: format!(
                "language model, {} texts, vocabulary {}, on {}",
                self.parts.train.len(),
                self.engine.network.vocab_size,
                self.engine.gpu.caps()
            ),
            parameters: self.engine.store.counts().1 as u64,
            steps_per_epoch: self.batches.batches_per_epoch(),
            tokens_per_epoch: self.batches.tokens_per_epoch(),
        }
    }

    fn train_step(&mut self, cx: &StepContext) -> Result<StepInfo> {
        let batch = self.batches.next_batch();
        if batch.reset {
            clear(&self.carried);
        }
        let step = self.steps.of(batch.time, || {
            let window = Window::new(&self.engine.gpu, batch.time, batch.batch)?;
            let loss = |tape: &Tape, w: &Window| window_loss(&self.model, &self.carried, tape, w);
            self.engine.record(window, loss)
        })?;
        let tokens = step.inputs.write(&batch)? as u64;
        self.engine.train(cx, step)?;
        Ok(StepInfo { tokens })
    }

    fn poll_losses(&mut self) -> Result<Vec<(u64, f32)>> {
        self.engine.poll()
    }

    fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        self.engine.drain()
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Scores>> {
        if split == Split::Test || self.parts.validation.is_empty() {
            return Ok(None);
        }
        let options = LmOptions {
            batch: self.stage.batch,
            window: self.stage.bptt,
            shuffle: false,
            word_dropout: 0.0,
        };
        let documents = self.data.documents.clone();
        let mut batches = LmBatches::new(documents, &self.parts.validation, options, 0)?;
        let (mut loss, mut tokens) = (0.0, 0);
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch();
            if batch.reset {
                clear(&self.scored);
            }
            let step = self.scoring.of(batch.time, || {
                let window = Window::new(&self.engine.gpu, batch.time, batch.batch)?;
                let loss =
                    |tape: &Tape, w: &Window| window_loss(&self.model, &self.scored, tape, w);
                Step::inference(&self.engine.gpu, window, loss)
            })?;
            let count = step.inputs.write(&batch)?;
            loss += f64::from(step.run(&self.engine.gpu)?[0]) * count as f64;
            tokens += count as u64;
        }
        Scores::language(loss, tokens).map(Some)
    }

    fn save(&mut self) -> Result<TensorMap> {
        let mut tensors = self.engine.save()?;
        for (name, tensor) in self.carried_tensors() {
            tensors.insert(
                name,
                HostTensor::f32(tensor.dims(), &tensor.to_vec::<f32>()?),
            );
        }
        Ok(tensors)
    }

    fn load(&mut self, tensors: &TensorMap) -> Result<()> {
        self.engine.load(tensors, &self.carried_tensors())
    }

    fn position(&self) -> Value {
        position(self.batches.position())
    }

    fn seek(&mut self, value: &Value) -> Result<()> {
        self.batches.seek(parse_position(value)?);
        Ok(())
    }

    fn export(&mut self) -> Result<ModelFiles> {
        let architecture = Architecture::LanguageModel {
            bptt: self.stage.bptt,
        };
        Description::new(architecture, &self.engine.network).files(&self.engine, &self.data)
    }
}
