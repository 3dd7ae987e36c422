//! Pretraining a language model (LM-LSTM).

use std::sync::Arc;

use super::Start;
use super::model::{Architecture, Description};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::lstm::{LstmConfig, LstmLanguageModel};
use crate::nn::Vars;
use crate::ops::TokenIds;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::{LmBatch, LmBatches, LmOptions};
use crate::train::config::StageConfig;
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo};
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{
    Objective, ObjectiveTask, as_targets, count, language_scores, mean_weights,
};

/// First and last state of every layer, for a batch.
type States = Vec<(Tensor, Tensor)>;

/// A window of the stream on the device.
pub struct Window {
    ids: TokenIds,
    lens: Tensor,
    targets: Tensor,
    weights: Tensor,
    /// The state in which it begins; its last one takes its place.
    states: States,
}

/// LM-LSTM pretraining.
pub(in crate::train::tasks) struct LanguageModel {
    network: LstmConfig,
    model: LstmLanguageModel,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    /// The state between windows.
    carried: States,
    /// The state between windows while scoring.
    scored: States,
}

fn states(gpu: &Gpu, network: &LstmConfig, batch: usize) -> Result<States> {
    let zero = || Tensor::zeros(gpu, [batch, network.hidden_size]);
    (0..network.num_layers)
        .map(|_| Ok((zero()?, zero()?)))
        .collect()
}

impl LanguageModel {
    pub fn task(start: &Start<'_>, data: Arc<Data>) -> Result<ObjectiveTask<LanguageModel>> {
        let stage = start.request.stage;
        let network = start.network(data.tokenizer.vocab_size());
        let vars = Vars::new();
        let model = LstmLanguageModel::new(&vars, &network)?;
        let engine = start.engine(vars, &data.tokenizer)?;
        let parts = data.text(stage, start.request.unit)?;
        let options = LmOptions {
            batch: stage.batch,
            window: stage.objective.length(),
            shuffle: true,
            word_dropout: start.word_dropout(),
        };
        let seed = start.request.unit.seed;
        let batches = LmBatches::new(data.documents.clone(), &parts.train, options, seed)?;
        let objective = LanguageModel {
            carried: states(&engine.gpu, &network, stage.batch)?,
            scored: states(&engine.gpu, &network, stage.batch)?,
            network,
            model,
            data,
            parts,
            stage: stage.clone(),
        };
        ObjectiveTask::new(engine, objective, batches, stage)
    }
}

impl Objective for LanguageModel {
    type Stream = LmBatches;
    type Inputs = Window;

    fn describe(&self, batches: &LmBatches) -> TaskInfo {
        TaskInfo {
            summary: format!(
                "language model, {} texts, vocabulary {}",
                self.parts.train.len(),
                self.network.vocab_size,
            ),
            tokens_per_epoch: batches.tokens_per_epoch(),
            ..TaskInfo::default()
        }
    }

    fn tokens(batch: &LmBatch) -> u64 {
        count(&batch.targets) as u64
    }

    fn inputs(&self, gpu: &Gpu, batch: &LmBatch, training: bool) -> Result<Window> {
        let (steps, batch) = (batch.time, batch.batch);
        let states = if training {
            &self.carried
        } else {
            &self.scored
        };
        Ok(Window {
            ids: TokenIds::empty(gpu, steps, batch)?,
            lens: Tensor::empty(gpu, [batch], DType::U32)?,
            targets: Tensor::empty(gpu, [steps * batch], DType::U32)?,
            weights: Tensor::empty(gpu, [steps * batch], DType::F32)?,
            states: states.clone(),
        })
    }

    fn write(&self, w: &Window, batch: &LmBatch, step: &[LmBatch]) -> Result<u64> {
        if batch.reset {
            for (h, c) in &w.states {
                h.clear();
                c.clear();
            }
        }
        let all = step.iter().map(|b| &b.targets[..]);
        w.ids.write(&batch.ids, &batch.index)?;
        w.lens.write(&batch.lens)?;
        w.targets.write(&as_targets(&batch.targets))?;
        w.weights.write(&mean_weights(&batch.targets, all))?;
        Ok(count(&batch.targets) as u64)
    }

    fn loss(&self, tape: &Tape, w: &Window) -> Result<Tensor> {
        let (loss, finals) = self.model.loss(
            tape,
            &w.ids,
            &w.lens,
            Some(&w.states),
            &w.targets,
            &w.weights,
        )?;
        for ((h, c), (h_n, c_n)) in w.states.iter().zip(&finals) {
            h.copy_from(h_n)?;
            c.copy_from(c_n)?;
        }
        Ok(loss)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        scoring: &mut Steps<Window>,
        split: Split,
    ) -> Result<Option<Scores>> {
        let Some(texts) = self.parts.held_out(split) else {
            return Ok(None);
        };
        let options = LmOptions {
            batch: self.stage.batch,
            window: self.stage.objective.length(),
            shuffle: false,
            word_dropout: 0.0,
        };
        let documents = self.data.documents.clone();
        let mut batches = LmBatches::new(documents, texts, options, 0)?;
        language_scores(self, gpu, scoring, &mut batches).map(Some)
    }

    fn carried(&self) -> Vec<(String, Tensor)> {
        let named = |(i, (h, c)): (usize, &(Tensor, Tensor))| {
            [
                (format!("carried.h.{i}"), h.clone()),
                (format!("carried.c.{i}"), c.clone()),
            ]
        };
        self.carried.iter().enumerate().flat_map(named).collect()
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        let architecture = Architecture::LanguageModel {
            bptt: self.stage.objective.length(),
        };
        Description::new(architecture, &self.network).files(engine, &self.data)
    }
}
