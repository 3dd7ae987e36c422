//! Classifiers of whole sequences: one class, several, or a number (BERT and GPT-2).

use std::sync::Arc;

use super::export::{Exporter, export};
use super::inputs::tokens;
use super::labels::{self, Labels};
use super::network::Network;
use super::scorer::{self, Scorer, SequenceModel, Texts};
use super::start::{self, Started};
use crate::device::Gpu;
use crate::error::Result;
use crate::nn::LoraPlan;
use crate::tensor::{DType, ParamStore, Tape, Tensor};
use crate::text::{Keep, LabelledBatch, LabelledBatches, LabelledOptions, Position};
use crate::train::config::{KeptEnd, Problem, StageConfig, StageKind};
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo, TaskRequest};
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{Objective, ObjectiveTask, Stream};

/// Labelled sequences on the device.
pub struct Inputs {
    texts: Texts,
    /// (B) u32 classes, or (B, K) f32.
    targets: Tensor,
    weights: Tensor,
}

/// Sequence-classifier training.
pub struct SequenceClassifier {
    network: Network,
    plan: LoraPlan,
    model: SequenceModel,
    labels: Labels,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    batches: LabelledBatches,
    scorer: Scorer,
    exporter: Exporter,
}

impl Stream for LabelledBatches {
    type Batch = LabelledBatch;

    fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch()
    }

    fn next(&mut self, _: u64, _: u64) -> LabelledBatch {
        self.next_batch()
    }

    fn seek(&mut self, position: Position) {
        self.seek(position);
    }
}

/// How a stage's texts become rows.
pub fn options(stage: &StageConfig) -> LabelledOptions {
    LabelledOptions {
        batch: stage.batch,
        max_len: stage.max_len,
        keep: match stage.kept_end {
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
        let stage = request.stage.clone();
        let vocabulary = data.tokenizer.vocabulary();
        let (mut network, source) = start::network(request, vocabulary)?;
        let known = labels::known(source.as_ref());
        let fixed = stage.kind == StageKind::Evaluate;
        let (labels, kept) = Labels::new(&data.documents, stage.problem, known.as_deref(), fixed)?;
        network.set_labels(&labels.names, stage.problem);
        let source = source.map(|s| if kept { s } else { s.without_head() });
        let parts = match stage.problem {
            Problem::SingleLabel => data.labelled(request.unit)?,
            Problem::MultiLabel | Problem::Regression => data.any_labelled(request.unit)?,
        };
        let (documents, seed) = (data.documents.clone(), request.unit.seed);
        let options = options(&stage);
        let batches =
            LabelledBatches::new(documents, &parts.train, vocabulary, options.clone(), seed)?;
        let started = start::start(gpu, request, network, source, batches.batches_per_epoch())?;
        let exporter = Exporter::new(&started, &data)?;
        let Started {
            engine,
            network,
            plan,
            ..
        } = started;
        let accumulate = stage.accumulate;
        let objective = SequenceClassifier {
            model: SequenceModel::new(&engine.store, &network, &plan, stage.checkpointing)?,
            network,
            plan,
            labels,
            data,
            parts,
            stage,
            batches,
            scorer: Scorer::new(options),
            exporter,
        };
        Ok(ObjectiveTask::new(engine, objective, accumulate))
    }

    fn known(&self, batch: &LabelledBatch) -> usize {
        let label = |&&doc: &&u32| self.labels.target(&self.data.documents, doc).is_some();
        batch.docs.iter().filter(label).count()
    }
}

impl Objective for SequenceClassifier {
    type Stream = LabelledBatches;
    type Inputs = Inputs;

    fn build(&mut self, store: &ParamStore) -> Result<()> {
        let checkpointing = self.stage.checkpointing;
        self.model = SequenceModel::new(store, &self.network, &self.plan, checkpointing)?;
        Ok(())
    }

    fn describe(&self, engine: &Engine) -> TaskInfo {
        let documents = &self.data.documents;
        let length = |&doc: &u32| (documents.ids(doc).len() + 2).min(self.stage.max_len) as u64;
        TaskInfo {
            summary: format!(
                "classifier of {} classes, {} texts to learn from, {} to test on, on {}",
                self.labels.names.len(),
                self.parts.train.len(),
                self.parts.test.len(),
                engine.gpu.caps()
            ),
            steps_per_epoch: self.batches.batches_per_epoch(),
            tokens_per_epoch: self.parts.train.iter().map(length).sum(),
            notes: self.exporter.notes.clone(),
            ..TaskInfo::default()
        }
    }

    fn stream(&mut self) -> &mut LabelledBatches {
        &mut self.batches
    }

    fn position(&self) -> Position {
        self.batches.position()
    }

    fn length(batch: &LabelledBatch) -> usize {
        batch.inputs.time
    }

    fn tokens(batch: &LabelledBatch) -> u64 {
        tokens(&batch.inputs)
    }

    fn inputs(&self, gpu: &Gpu, batch: &LabelledBatch, _: bool) -> Result<Inputs> {
        let rows = batch.inputs.batch;
        let targets = match self.stage.problem {
            Problem::SingleLabel => Tensor::empty(gpu, [rows], DType::U32)?,
            _ => Tensor::empty(gpu, [rows, self.labels.names.len()], DType::F32)?,
        };
        Ok(Inputs {
            texts: Texts::new(gpu, &batch.inputs)?,
            targets,
            weights: Tensor::empty(gpu, [rows], DType::F32)?,
        })
    }

    fn write(&self, i: &Inputs, batch: &LabelledBatch, step: &[LabelledBatch]) -> Result<u64> {
        let documents = &self.data.documents;
        let outputs = self.labels.names.len();
        let targets: Vec<Option<&[f32]>> = (batch.docs.iter())
            .map(|&doc| self.labels.target(documents, doc))
            .collect();
        let all: usize = step.iter().map(|b| self.known(b)).sum();
        let share = 1.0 / all.max(1) as f32;
        i.texts.write(&batch.inputs)?;
        let share = match self.stage.problem {
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
        self.model.loss(tape, &i.texts, &i.targets, &i.weights)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        _: &mut Steps<Inputs>,
        split: Split,
    ) -> Result<Option<Scores>> {
        let docs = match split {
            Split::Validation => &self.parts.validation,
            Split::Test => &self.parts.test,
        };
        if docs.is_empty() {
            return Ok(None);
        }
        let (documents, vocabulary) = (&self.data.documents, self.data.tokenizer.vocabulary());
        let outputs = self
            .scorer
            .outputs(gpu, &self.model, vocabulary, documents, docs)?;
        scorer::scores(&self.labels, documents, &outputs).map(Some)
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        export(&self.exporter, &self.network, engine)
    }
}
