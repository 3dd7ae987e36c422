//! Classifiers of whole sequences: one class, several, or a number.

use std::sync::Arc;

use super::basis::Basis;
use super::inputs::{Sequences, tokens};
use super::labels::{self, Labels};
use super::scorer::{self, Scorer};
use super::start;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::{Classifier, classification_loss};
use crate::objectives::Classify;
use crate::ops;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::{Frame, Keep, LabelledBatch, LabelledBatches, LabelledOptions};
use crate::train::config::{KeptEnd, Problem, StageConfig, StageKind};
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo, TaskRequest};
use crate::train::tasks::data::Data;
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{Objective, ObjectiveTask};

/// Labelled sequences on the device.
pub struct Inputs {
    texts: Sequences,
    /// (B) u32 classes, or (B, K) f32.
    targets: Tensor,
    weights: Tensor,
}

/// Sequence-classifier training.
pub struct SequenceClassifier {
    basis: Basis,
    labels: Labels,
    scorer: Scorer,
}

/// How a stage's texts become rows.
pub fn options(stage: &StageConfig) -> LabelledOptions {
    LabelledOptions {
        batch: stage.batch,
        max_len: stage.objective.length(),
        keep: match stage.objective.kept_end() {
            KeptEnd::Head => Keep::Head,
            KeptEnd::Tail => Keep::Tail,
        },
        buckets: true,
        shuffle: true,
    }
}

impl SequenceClassifier {
    /// The task of a stage.
    pub fn task(
        gpu: Gpu,
        data: Arc<Data>,
        request: &TaskRequest<'_>,
    ) -> Result<ObjectiveTask<SequenceClassifier>> {
        let stage = request.stage;
        let vocabulary = data.tokenizer.vocabulary();
        let (mut network, source) = start::network(request, vocabulary)?;
        let known = labels::known(source.as_ref());
        let fixed = stage.kind == StageKind::Evaluate;
        let problem = stage.objective.problem();
        let (labels, kept) = Labels::new(&data.documents, problem, known.as_deref(), fixed)?;
        network.set_labels(labels::of_config(&labels.names, problem));
        network.set_padding(Frame::of(vocabulary)?.pad);
        let source = source.map(|s| if kept { s } else { s.without_head() });
        let parts = match problem {
            Problem::SingleLabel => data.labelled(request.unit)?,
            Problem::MultiLabel | Problem::Regression => data.any_labelled(request.unit)?,
        };
        let (documents, seed) = (data.documents.clone(), request.unit.seed);
        let options = options(stage);
        let batches =
            LabelledBatches::new(documents, &parts.train, vocabulary, options.clone(), seed)?;
        let started = start::start(gpu, request, network, source, batches.batches_per_epoch())?;
        let (engine, basis) = Basis::new(started, data, parts, stage)?;
        let objective = SequenceClassifier {
            basis,
            labels,
            scorer: Scorer::new(options),
        };
        ObjectiveTask::new(engine, objective, batches, stage)
    }

    fn model(&self) -> Result<&dyn Classifier> {
        let model = self.basis.network.as_classifier();
        model.ok_or_else(|| super::wrong_network(&self.basis.stage))
    }

    fn known(&self, batch: &LabelledBatch) -> usize {
        let label = |&&doc: &&u32| {
            self.labels
                .target(&self.basis.data.documents, doc)
                .is_some()
        };
        batch.docs.iter().filter(label).count()
    }
}

impl Objective for SequenceClassifier {
    type Stream = LabelledBatches;
    type Inputs = Inputs;

    fn describe(&self, _: &LabelledBatches) -> TaskInfo {
        TaskInfo {
            summary: format!(
                "classifier of {} classes, {} texts to learn from, {} to test on",
                self.labels.names.len(),
                self.basis.parts.train.len(),
                self.basis.parts.test.len(),
            ),
            tokens_per_epoch: self.basis.tokens_per_epoch(),
            notes: self.basis.notes.clone(),
            ..TaskInfo::default()
        }
    }

    fn tokens(batch: &LabelledBatch) -> u64 {
        tokens(&batch.inputs)
    }

    fn inputs(&self, gpu: &Gpu, batch: &LabelledBatch, _: bool) -> Result<Inputs> {
        let rows = batch.inputs.batch;
        let targets = match self.labels.problem {
            Problem::SingleLabel => Tensor::empty(gpu, [rows], DType::U32)?,
            _ => Tensor::empty(gpu, [rows, self.labels.names.len()], DType::F32)?,
        };
        Ok(Inputs {
            texts: Sequences::with_last(gpu, &batch.inputs)?,
            targets,
            weights: Tensor::empty(gpu, [rows], DType::F32)?,
        })
    }

    fn write(&self, i: &Inputs, batch: &LabelledBatch, step: &[LabelledBatch]) -> Result<u64> {
        let documents = &self.basis.data.documents;
        let outputs = self.labels.names.len();
        let targets: Vec<Option<&[f32]>> = (batch.docs.iter())
            .map(|&doc| self.labels.target(documents, doc))
            .collect();
        let all: usize = step.iter().map(|b| self.known(b)).sum();
        let share = 1.0 / all.max(1) as f32;
        i.texts.write(&batch.inputs)?;
        let share = match self.labels.problem {
            Problem::SingleLabel => {
                let class = |t: &Option<&[f32]>| t.map_or(u32::MAX, Labels::class);
                i.targets
                    .write(&targets.iter().map(class).collect::<Vec<_>>())?;
                share
            }
            // A mean over texts and outputs, as PyTorch's.
            _ => {
                let zeros = vec![0.0; outputs];
                let row = |t: &Option<&[f32]>| t.unwrap_or(&zeros).to_vec();
                let values: Vec<f32> = targets.iter().flat_map(row).collect();
                i.targets.write(&values)?;
                share / outputs as f32
            }
        };
        let weight = |t: &Option<&[f32]>| if t.is_some() { share } else { 0.0 };
        i.weights
            .write(&targets.iter().map(weight).collect::<Vec<_>>())?;
        Ok(self.known(batch) as u64)
    }

    fn loss(&self, tape: &Tape, i: &Inputs) -> Result<Tensor> {
        let logits = self.model()?.logits(tape, &i.texts.tokens())?;
        let own = self.basis.stage.options::<Classify>();
        let smoothing = own.map_or(0.0, |o| o.label_smoothing);
        if smoothing > 0.0 {
            return ops::smoothed_cross_entropy(tape, &logits, &i.targets, &i.weights, smoothing);
        }
        let problem = self.basis.config.labels().problem();
        classification_loss(tape, problem, &logits, &i.targets, &i.weights)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        _: &mut Steps<Inputs>,
        split: Split,
    ) -> Result<Option<Scores>> {
        let Some(docs) = self.basis.parts.held_out(split) else {
            return Ok(None);
        };
        let (documents, vocabulary) = (
            &self.basis.data.documents,
            self.basis.data.tokenizer.vocabulary(),
        );
        let model = self.basis.network.as_classifier();
        let model = model.ok_or_else(|| super::wrong_network(&self.basis.stage))?;
        let outputs = self
            .scorer
            .outputs(gpu, model, vocabulary, documents, docs)?;
        scorer::scores(&self.labels, documents, &outputs).map(Some)
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        self.basis.export(engine)
    }
}
