//! Causal language models.

use std::sync::Arc;

use super::basis::Basis;
use super::inputs::{Sequences, tokens};
use super::start;
use crate::device::Gpu;
use crate::error::Result;
use crate::objectives::Clm;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::{CausalBatch, CausalBatches, CausalLayout, CausalOptions};
use crate::train::config::StageConfig;
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo, TaskRequest};
use crate::train::tasks::data::Data;
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{
    Objective, ObjectiveTask, as_targets, language_scores, mean_weights,
};

/// A window of text on the device.
pub struct Inputs {
    sequences: Sequences,
    targets: Tensor,
    weights: Tensor,
}

/// Causal-LM training.
pub struct CausalLm {
    basis: Basis,
}

fn options(stage: &StageConfig, shuffle: bool) -> CausalOptions {
    CausalOptions {
        batch: stage.batch,
        max_len: stage.objective.length(),
        layout: if stage.options::<Clm>().is_some_and(|o| o.packing) {
            CausalLayout::Stream
        } else {
            CausalLayout::Documents
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
        let stage = request.stage;
        let vocabulary = data.tokenizer.vocabulary();
        let (network, source) = start::network(request, vocabulary)?;
        let parts = data.text(stage, request.unit)?;
        let (documents, seed) = (data.documents.clone(), request.unit.seed);
        let options = options(stage, true);
        let batches = CausalBatches::new(documents, &parts.train, vocabulary, options, seed)?;
        let started = start::start(gpu, request, network, source, batches.batches_per_epoch())?;
        let (engine, basis) = Basis::new(started, data, parts, stage)?;
        ObjectiveTask::new(engine, CausalLm { basis }, batches, stage)
    }
}

impl Objective for CausalLm {
    type Stream = CausalBatches;
    type Inputs = Inputs;

    fn describe(&self, batches: &CausalBatches) -> TaskInfo {
        TaskInfo {
            summary: format!(
                "causal language model, {} texts, vocabulary {}",
                self.basis.parts.train.len(),
                self.basis.config.vocab_size(),
            ),
            tokens_per_epoch: batches.tokens_per_epoch(),
            notes: self.basis.notes.clone(),
            ..TaskInfo::default()
        }
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
        let model = self.basis.network.as_causal_lm();
        let model = model.ok_or_else(|| super::wrong_network(&self.basis.stage))?;
        model.loss(tape, &i.sequences.tokens(), &i.targets, &i.weights)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        scoring: &mut Steps<Inputs>,
        split: Split,
    ) -> Result<Option<Scores>> {
        let Some(texts) = self.basis.parts.held_out(split) else {
            return Ok(None);
        };
        let documents = self.basis.data.documents.clone();
        let vocabulary = self.basis.data.tokenizer.vocabulary();
        let options = options(&self.basis.stage, false);
        let mut batches = CausalBatches::new(documents, texts, vocabulary, options, 0)?;
        language_scores(self, gpu, scoring, &mut batches).map(Some)
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        self.basis.export(engine)
    }
}
