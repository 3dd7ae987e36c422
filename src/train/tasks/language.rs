//! Pretraining: language model (LM-LSTM) and sequence autoencoder (SA-LSTM).

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::data::{Data, Parts};
use super::engine::{Engine, Step, as_targets, mean_weights};
use super::model::{Architecture, Description};
use super::network;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::lstm::{AutoencoderInputs, LstmLanguageModel, SequenceAutoencoder};
use crate::ops::TokenIds;
use crate::tensor::{DType, Tensor};
use crate::text::{
    BucketBatches, BucketOptions, Keep, LmBatch, LmBatches, LmOptions, Position, SequenceBatch,
};
use crate::train::config::{KeptEnd, StageConfig};
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
    steps: HashMap<usize, Step<Window>>,
    scoring: HashMap<usize, Step<Window>>,
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
            steps: HashMap::new(),
            scoring: HashMap::new(),
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
        if !self.steps.contains_key(&batch.time) {
            let window = Window::new(&self.engine.gpu, batch.time, batch.batch)?;
            let step = self.engine.record(window, |tape, w| {
                let state = Some(&self.carried[..]);
                let (loss, finals) = self
                    .model
                    .loss(tape, &w.ids, &w.lens, state, &w.targets, &w.weights)?;
                keep(&self.carried, &finals)?;
                Ok(loss)
            })?;
            self.steps.insert(batch.time, step);
        }
        if batch.reset {
            clear(&self.carried);
        }
        let step = &self.steps[&batch.time];
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
            if !self.scoring.contains_key(&batch.time) {
                let window = Window::new(&self.engine.gpu, batch.time, batch.batch)?;
                let step = Step::inference(&self.engine.gpu, window, |tape, w| {
                    let state = Some(&self.scored[..]);
                    let (loss, finals) = self
                        .model
                        .loss(tape, &w.ids, &w.lens, state, &w.targets, &w.weights)?;
                    keep(&self.scored, &finals)?;
                    Ok(loss)
                })?;
                self.scoring.insert(batch.time, step);
            }
            if batch.reset {
                clear(&self.scored);
            }
            let step = &self.scoring[&batch.time];
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

/// A position in the batches, for a checkpoint.
pub(super) fn position(position: Position) -> Value {
    // Three whole numbers: this cannot fail.
    serde_json::to_value(position).unwrap_or_default()
}

pub(super) fn parse_position(value: &Value) -> Result<Position> {
    serde_json::from_value(value.clone()).map_err(|e| Error::Folder {
        path: "trainer.json".into(),
        problem: format!("its data position is damaged ({e}); resume from an older checkpoint"),
    })
}

pub(super) fn kept_end(end: KeptEnd) -> Keep {
    match end {
        KeptEnd::Head => Keep::Head,
        KeptEnd::Tail => Keep::Tail,
    }
}

/// A batch of sequences to reconstruct, on the device.
struct Pair {
    source: TokenIds,
    source_lens: Tensor,
    shifted: TokenIds,
    shifted_lens: Tensor,
    targets: Tensor,
    weights: Tensor,
}

impl Pair {
    fn new(gpu: &Gpu, steps: usize, batch: usize) -> Result<Pair> {
        Ok(Pair {
            source: TokenIds::empty(gpu, steps, batch)?,
            shifted: TokenIds::empty(gpu, steps, batch)?,
            source_lens: Tensor::empty(gpu, [batch], DType::U32)?,
            shifted_lens: Tensor::empty(gpu, [batch], DType::U32)?,
            targets: Tensor::empty(gpu, [steps * batch], DType::U32)?,
            weights: Tensor::empty(gpu, [steps * batch], DType::F32)?,
        })
    }

    fn write(&self, batch: &SequenceBatch) -> Result<usize> {
        let Some(decoder) = &batch.decoder else {
            return Ok(0);
        };
        let targets = as_targets(&decoder.targets);
        let (weights, count) = mean_weights(&targets);
        self.source.write(&batch.ids, &batch.index)?;
        self.shifted.write(&decoder.ids, &decoder.index)?;
        self.source_lens.write(&batch.lens)?;
        self.shifted_lens.write(&decoder.lens)?;
        self.targets.write(&targets)?;
        self.weights.write(&weights)?;
        Ok(count)
    }

    fn inputs(&self) -> AutoencoderInputs<'_> {
        AutoencoderInputs {
            source: &self.source,
            source_lens: &self.source_lens,
            shifted: &self.shifted,
            shifted_lens: &self.shifted_lens,
            targets: &self.targets,
            weights: &self.weights,
        }
    }
}

/// SA-LSTM pretraining.
pub(super) struct AutoencoderTask {
    engine: Engine,
    model: SequenceAutoencoder,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    batches: BucketBatches,
    steps: HashMap<usize, Step<Pair>>,
    scoring: HashMap<usize, Step<Pair>>,
}

impl AutoencoderTask {
    pub fn new(gpu: Gpu, data: Arc<Data>, request: &TaskRequest<'_>) -> Result<AutoencoderTask> {
        let stage = request.stage.clone();
        let network = network(&request.config.model, &stage, data.tokenizer.vocab_size());
        let specs = network.decoder_specs();
        let engine = Engine::new(gpu, network, specs, &data.tokenizer, request)?;
        let model = SequenceAutoencoder::new(&engine.store, &engine.network)?;
        let parts = data.text(&stage, request.unit)?;
        let options = BucketOptions {
            word_dropout: stage.dropout(&request.config.model).word,
            ..Self::options(&stage, true)
        };
        let seed = request.unit.seed;
        let batches = BucketBatches::new(data.documents.clone(), &parts.train, options, seed)?;
        let (steps, scoring) = (HashMap::new(), HashMap::new());
        Ok(AutoencoderTask {
            engine,
            model,
            data,
            parts,
            stage,
            batches,
            steps,
            scoring,
        })
    }

    fn options(stage: &StageConfig, shuffle: bool) -> BucketOptions {
        BucketOptions {
            batch: stage.batch,
            max_len: stage.max_len,
            keep: kept_end(stage.kept_end),
            shuffle,
            word_dropout: 0.0,
            autoencode: true,
        }
    }
}

impl Task for AutoencoderTask {
    fn describe(&self) -> TaskInfo {
        let documents = &self.data.documents;
        let length = |&doc: &u32| (documents.ids(doc).len() + 1).min(self.stage.max_len) as u64;
        TaskInfo {
            summary: format!(
                "sequence autoencoder, {} texts, vocabulary {}, on {}",
                self.parts.train.len(),
                self.engine.network.vocab_size,
                self.engine.gpu.caps()
            ),
            parameters: self.engine.store.counts().1 as u64,
            steps_per_epoch: self.batches.batches_per_epoch(),
            tokens_per_epoch: self.parts.train.iter().map(length).sum(),
        }
    }

    fn train_step(&mut self, cx: &StepContext) -> Result<StepInfo> {
        let batch = self.batches.next_batch();
        if !self.steps.contains_key(&batch.time) {
            let pair = Pair::new(&self.engine.gpu, batch.time, batch.batch)?;
            let step = self
                .engine
                .record(pair, |tape, p| self.model.loss(tape, &p.inputs()))?;
            self.steps.insert(batch.time, step);
        }
        let step = &self.steps[&batch.time];
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
        let options = Self::options(&self.stage, false);
        let documents = self.data.documents.clone();
        let mut batches = BucketBatches::new(documents, &self.parts.validation, options, 0)?;
        let (mut loss, mut tokens) = (0.0, 0);
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch();
            if !self.scoring.contains_key(&batch.time) {
                let pair = Pair::new(&self.engine.gpu, batch.time, batch.batch)?;
                let record = Step::inference(&self.engine.gpu, pair, |tape, p| {
                    self.model.loss(tape, &p.inputs())
                });
                self.scoring.insert(batch.time, record?);
            }
            let step = &self.scoring[&batch.time];
            let count = step.inputs.write(&batch)?;
            loss += f64::from(step.run(&self.engine.gpu)?[0]) * count as f64;
            tokens += count as u64;
        }
        Scores::language(loss, tokens).map(Some)
    }

    fn save(&mut self) -> Result<TensorMap> {
        self.engine.save()
    }

    fn load(&mut self, tensors: &TensorMap) -> Result<()> {
        self.engine.load(tensors, &[])
    }

    fn position(&self) -> Value {
        position(self.batches.position())
    }

    fn seek(&mut self, value: &Value) -> Result<()> {
        self.batches.seek(parse_position(value)?);
        Ok(())
    }

    fn export(&mut self) -> Result<ModelFiles> {
        let architecture = Architecture::Autoencoder {
            max_len: self.stage.max_len,
            kept_end: self.stage.kept_end,
        };
        Description::new(architecture, &self.engine.network).files(&self.engine, &self.data)
    }
}
