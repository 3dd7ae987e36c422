//! Pretraining a sequence autoencoder (SA-LSTM).

use std::sync::Arc;

use super::model::{Architecture, Description};
use super::{Start, kept_end, length};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::lstm::{AutoencoderInputs, LstmConfig, SequenceAutoencoder};
use crate::nn::Vars;
use crate::ops::TokenIds;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::{BucketBatches, BucketOptions, SequenceBatch};
use crate::train::config::StageConfig;
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo};
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{
    Objective, ObjectiveTask, as_targets, count, language_scores, mean_weights,
};

/// A batch of sequences to reconstruct, on the device.
pub struct Pair {
    source: TokenIds,
    source_lens: Tensor,
    shifted: TokenIds,
    shifted_lens: Tensor,
    targets: Tensor,
    weights: Tensor,
}

/// SA-LSTM pretraining.
pub(in crate::train::tasks) struct Autoencoder {
    network: LstmConfig,
    model: SequenceAutoencoder,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
}

/// What the decoder should say.
fn targets(batch: &SequenceBatch) -> &[i32] {
    batch.decoder.as_ref().map_or(&[], |d| &d.targets)
}

impl Autoencoder {
    pub fn task(start: &Start<'_>, data: Arc<Data>) -> Result<ObjectiveTask<Autoencoder>> {
        let stage = start.request.stage;
        let network = start.network(data.tokenizer.vocab_size());
        let vars = Vars::new();
        let model = SequenceAutoencoder::new(&vars, &network)?;
        let engine = start.engine(vars, &data.tokenizer)?;
        let parts = data.text(stage, start.request.unit)?;
        let options = BucketOptions {
            word_dropout: start.word_dropout(),
            ..Self::options(stage, true)
        };
        let seed = start.request.unit.seed;
        let batches = BucketBatches::new(data.documents.clone(), &parts.train, options, seed)?;
        let objective = Autoencoder {
            network,
            model,
            data,
            parts,
            stage: stage.clone(),
        };
        ObjectiveTask::new(engine, objective, batches, stage)
    }

    fn options(stage: &StageConfig, shuffle: bool) -> BucketOptions {
        BucketOptions {
            batch: stage.batch,
            max_len: stage.objective.length(),
            keep: kept_end(stage.objective.kept_end()),
            shuffle,
            word_dropout: 0.0,
            autoencode: true,
        }
    }
}

impl Objective for Autoencoder {
    type Stream = BucketBatches;
    type Inputs = Pair;

    fn describe(&self, _: &BucketBatches) -> TaskInfo {
        let documents = &self.data.documents;
        let lengths = self.parts.train.iter();
        TaskInfo {
            summary: format!(
                "sequence autoencoder, {} texts, vocabulary {}",
                self.parts.train.len(),
                self.network.vocab_size,
            ),
            tokens_per_epoch: lengths
                .map(|&doc| length(documents.ids(doc).len(), &self.stage))
                .sum(),
            ..TaskInfo::default()
        }
    }

    fn tokens(batch: &SequenceBatch) -> u64 {
        count(targets(batch)) as u64
    }

    fn inputs(&self, gpu: &Gpu, batch: &SequenceBatch, _: bool) -> Result<Pair> {
        let (steps, batch) = (batch.time, batch.batch);
        Ok(Pair {
            source: TokenIds::empty(gpu, steps, batch)?,
            shifted: TokenIds::empty(gpu, steps, batch)?,
            source_lens: Tensor::empty(gpu, [batch], DType::U32)?,
            shifted_lens: Tensor::empty(gpu, [batch], DType::U32)?,
            targets: Tensor::empty(gpu, [steps * batch], DType::U32)?,
            weights: Tensor::empty(gpu, [steps * batch], DType::F32)?,
        })
    }

    fn write(&self, p: &Pair, batch: &SequenceBatch, step: &[SequenceBatch]) -> Result<u64> {
        let Some(decoder) = &batch.decoder else {
            return Ok(0);
        };
        p.source.write(&batch.ids, &batch.index)?;
        p.shifted.write(&decoder.ids, &decoder.index)?;
        p.source_lens.write(&batch.lens)?;
        p.shifted_lens.write(&decoder.lens)?;
        p.targets.write(&as_targets(&decoder.targets))?;
        let weights = mean_weights(&decoder.targets, step.iter().map(targets));
        p.weights.write(&weights)?;
        Ok(count(&decoder.targets) as u64)
    }

    fn loss(&self, tape: &Tape, p: &Pair) -> Result<Tensor> {
        let inputs = AutoencoderInputs {
            source: &p.source,
            source_lens: &p.source_lens,
            shifted: &p.shifted,
            shifted_lens: &p.shifted_lens,
            targets: &p.targets,
            weights: &p.weights,
        };
        self.model.loss(tape, &inputs)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        scoring: &mut Steps<Pair>,
        split: Split,
    ) -> Result<Option<Scores>> {
        let Some(texts) = self.parts.held_out(split) else {
            return Ok(None);
        };
        let options = Self::options(&self.stage, false);
        let documents = self.data.documents.clone();
        let mut batches = BucketBatches::new(documents, texts, options, 0)?;
        language_scores(self, gpu, scoring, &mut batches).map(Some)
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        let architecture = Architecture::Autoencoder {
            max_len: self.stage.objective.length(),
            kept_end: self.stage.objective.kept_end(),
        };
        Description::new(architecture, &self.network).files(engine, &self.data)
    }
}
