//! Pretraining a sequence autoencoder (SA-LSTM).

use std::sync::Arc;

use serde_json::Value;

use super::data::{Data, Parts};
use super::engine::{
    Engine, Step, Steps, as_targets, kept_end, mean_weights, parse_position, position,
};
use super::model::{Architecture, Description};
use super::network;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::lstm::{AutoencoderInputs, SequenceAutoencoder};
use crate::ops::TokenIds;
use crate::tensor::{DType, Tensor};
use crate::text::{BucketBatches, BucketOptions, SequenceBatch};
use crate::train::config::StageConfig;
use crate::train::metrics::Scores;
use crate::train::state::TensorMap;
use crate::train::task::{ModelFiles, Split, StepContext, StepInfo, Task, TaskInfo, TaskRequest};

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
    steps: Steps<Pair>,
    scoring: Steps<Pair>,
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
        let (steps, scoring) = (Steps::new(), Steps::new());
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
        let step = self.steps.of(batch.time, || {
            let pair = Pair::new(&self.engine.gpu, batch.time, batch.batch)?;
            self.engine
                .record(pair, |tape, p| self.model.loss(tape, &p.inputs()))
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
        let options = Self::options(&self.stage, false);
        let documents = self.data.documents.clone();
        let mut batches = BucketBatches::new(documents, &self.parts.validation, options, 0)?;
        let (mut loss, mut tokens) = (0.0, 0);
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch();
            let step = self.scoring.of(batch.time, || {
                let gpu = &self.engine.gpu;
                let pair = Pair::new(gpu, batch.time, batch.batch)?;
                Step::inference(gpu, pair, |tape, p| self.model.loss(tape, &p.inputs()))
            })?;
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
