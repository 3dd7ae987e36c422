//! Causal language models (GPT-2).

use std::sync::Arc;

use super::export::{Exporter, export};
use super::inputs::{Sequences, tokens};
use super::network::Network;
use super::start::{self, Started};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::gpt2::Gpt2LmHead;
use crate::nn::LoraPlan;
use crate::tensor::{DType, ParamStore, Tape, Tensor};
use crate::text::{CausalBatch, CausalBatches, CausalLayout, CausalOptions, Position};
use crate::train::config::StageConfig;
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo, TaskRequest};
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{
    Objective, ObjectiveTask, Stream, as_targets, language_scores, mean_weights,
};

/// A window of text on the device.
pub struct Inputs {
    sequences: Sequences,
    targets: Tensor,
    weights: Tensor,
}

/// Causal-LM training.
pub struct CausalLm {
    network: Network,
    plan: LoraPlan,
    model: Gpt2LmHead,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    batches: CausalBatches,
    exporter: Exporter,
}

impl Stream for CausalBatches {
    type Batch = CausalBatch;

    fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch()
    }

    fn next(&mut self, _: u64, _: u64) -> CausalBatch {
        self.next_batch()
    }

    fn seek(&mut self, position: Position) {
        self.seek(position);
    }
}

fn model(
    store: &ParamStore,
    network: &Network,
    plan: &LoraPlan,
    stage: &StageConfig,
) -> Result<Gpt2LmHead> {
    let Network::Gpt2(config) = network else {
        return Err(super::wrong_network(stage));
    };
    let mut model = Gpt2LmHead::new(store, config, plan)?;
    model.gpt2.checkpointing = stage.checkpointing;
    Ok(model)
}

fn options(stage: &StageConfig, shuffle: bool) -> CausalOptions {
    CausalOptions {
        batch: stage.batch,
        max_len: stage.max_len,
        layout: match stage.packing {
            true => CausalLayout::Stream,
            false => CausalLayout::Documents,
        },
        buckets: true,
        shuffle,
        prompt_loss: false,
    }
}

impl CausalLm {
    /// The task of a stage.
    pub fn task(
        gpu: Gpu,
        data: Arc<Data>,
        request: &TaskRequest<'_>,
    ) -> Result<ObjectiveTask<CausalLm>> {
        let stage = request.stage.clone();
        let vocabulary = data.tokenizer.vocabulary();
        let (network, source) = start::network(request, vocabulary)?;
        let parts = data.text(&stage, request.unit)?;
        let (documents, seed) = (data.documents.clone(), request.unit.seed);
        let options = options(&stage, true);
        let batches = CausalBatches::new(documents, &parts.train, vocabulary, options, seed)?;
        let started = start::start(gpu, request, network, source, batches.batches_per_epoch())?;
        let exporter = Exporter::new(&started, &data)?;
        let Started {
            engine,
            network,
            plan,
            ..
        } = started;
        let accumulate = stage.accumulate;
        let objective = CausalLm {
            model: model(&engine.store, &network, &plan, &stage)?,
            network,
            plan,
            data,
            parts,
            stage,
            batches,
            exporter,
        };
        Ok(ObjectiveTask::new(engine, objective, accumulate))
    }
}

impl Objective for CausalLm {
    type Stream = CausalBatches;
    type Inputs = Inputs;

    fn build(&mut self, store: &ParamStore) -> Result<()> {
        self.model = model(store, &self.network, &self.plan, &self.stage)?;
        Ok(())
    }

    fn describe(&self, engine: &Engine) -> TaskInfo {
        TaskInfo {
            summary: format!(
                "causal language model, {} texts, vocabulary {}, on {}",
                self.parts.train.len(),
                self.network.vocab_size(),
                engine.gpu.caps()
            ),
            steps_per_epoch: self.batches.batches_per_epoch(),
            tokens_per_epoch: self.batches.tokens_per_epoch(),
            notes: self.exporter.notes.clone(),
            ..TaskInfo::default()
        }
    }

    fn stream(&mut self) -> &mut CausalBatches {
        &mut self.batches
    }

    fn position(&self) -> Position {
        self.batches.position()
    }

    fn length(batch: &CausalBatch) -> usize {
        batch.inputs.time
    }

    fn tokens(batch: &CausalBatch) -> u64 {
        tokens(&batch.inputs)
    }

    fn inputs(&self, gpu: &Gpu, batch: &CausalBatch, _: bool) -> Result<Inputs> {
        let count = batch.inputs.batch * batch.inputs.time;
        Ok(Inputs {
            sequences: Sequences::new(gpu, &batch.inputs)?,
            targets: Tensor::empty(gpu, [count], DType::U32)?,
            weights: Tensor::empty(gpu, [count], DType::F32)?,
        })
    }

    fn write(&self, i: &Inputs, batch: &CausalBatch, step: &[CausalBatch]) -> Result<u64> {
        let all = step.iter().map(|b| &b.targets[..]);
        i.sequences.write(&batch.inputs)?;
        i.targets.write(&as_targets(&batch.targets))?;
        i.weights.write(&mean_weights(&batch.targets, all))?;
        Ok(batch.predicted as u64)
    }

    fn loss(&self, tape: &Tape, i: &Inputs) -> Result<Tensor> {
        self.model
            .loss(tape, &i.sequences.ids, &i.targets, &i.weights)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        scoring: &mut Steps<Inputs>,
        split: Split,
    ) -> Result<Option<Scores>> {
        if split == Split::Test || self.parts.validation.is_empty() {
            return Ok(None);
        }
        let documents = self.data.documents.clone();
        let vocabulary = self.data.tokenizer.vocabulary();
        let options = options(&self.stage, false);
        let texts = &self.parts.validation;
        let mut batches = CausalBatches::new(documents, texts, vocabulary, options, 0)?;
        language_scores(self, gpu, scoring, &mut batches).map(Some)
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        export(&self.exporter, &self.network, engine)
    }
}
