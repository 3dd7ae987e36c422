//! Fine-tuning: the classifier, from its last state or with the linear gain on labels, alone or
//! together with a language model or autoencoder.

use std::sync::Arc;

use super::model::{Architecture, Description, Scorer, labels_in, outputs_of};
use super::{Start, kept_end, length};
use crate::device::Gpu;
use crate::error::Result;
use crate::models::lstm::{
    Auxiliary, ClassifierInputs, DECODER, JointClassifier, LstmClassifier, LstmConfig,
};
use crate::nn::Vars;
use crate::objectives::Joint;
use crate::ops::TokenIds;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::batch::IGNORE;
use crate::text::{BucketBatches, BucketOptions, SequenceBatch};
use crate::train::config::{self, StageConfig, StageKind};
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo};
use crate::train::tasks::data::{Data, Parts};
use crate::train::tasks::engine::{Engine, Steps};
use crate::train::tasks::objective::{Objective, ObjectiveTask, as_targets, count, mean_weights};

/// A batch of labelled sequences on the device.
pub struct Labelled {
    ids: TokenIds,
    lens: Tensor,
    targets: Tensor,
    weights: Tensor,
    second: Option<Second>,
}

/// What the second objective predicts.
struct Second {
    /// For an autoencoder: what the decoder reads, and its lengths.
    shifted: Option<(TokenIds, Tensor)>,
    targets: Tensor,
    weights: Tensor,
}

enum Network {
    Classifier(Box<LstmClassifier>),
    Joint(Box<JointClassifier>, config::Auxiliary),
}

impl Network {
    fn new(
        v: &Vars,
        sizes: &LstmConfig,
        classes: usize,
        joint: Option<(config::Auxiliary, f32)>,
    ) -> Result<Network> {
        Ok(match joint {
            Some((kind, weight)) => {
                let model = JointClassifier::new(v, sizes, classes, weight)?;
                Network::Joint(Box::new(model), kind)
            }
            None => Network::Classifier(Box::new(LstmClassifier::new(v, sizes, classes)?)),
        })
    }

    fn loss(&self, tape: &Tape, batch: &Labelled) -> Result<Tensor> {
        let inputs = ClassifierInputs {
            ids: &batch.ids,
            lens: &batch.lens,
            targets: &batch.targets,
            weights: &batch.weights,
        };
        match (self, &batch.second) {
            (Network::Joint(model, _), Some(second)) => {
                let auxiliary = Auxiliary {
                    shifted: second.shifted.as_ref().map(|(ids, lens)| (ids, lens)),
                    targets: &second.targets,
                    weights: &second.weights,
                };
                model.loss(tape, &inputs, &auxiliary)
            }
            (network, _) => network.classifier().loss(tape, &inputs),
        }
    }

    fn classifier(&self) -> &LstmClassifier {
        match self {
            Network::Classifier(model) => model,
            Network::Joint(model, _) => model.classifier(),
        }
    }

    fn second(&self) -> Option<config::Auxiliary> {
        match self {
            Network::Classifier(_) => None,
            Network::Joint(_, kind) => Some(*kind),
        }
    }
}

/// Trains a classifier.
pub(in crate::train::tasks) struct Classifier {
    /// Names of the outputs.
    labels: Vec<String>,
    /// Which of them each class of the data is: in training, that of its number.
    outputs: Vec<usize>,
    sizes: LstmConfig,
    network: Network,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    linear_gain: bool,
    scorer: Scorer,
}

/// The second objective and its weight.
fn joint(stage: &StageConfig) -> Option<(config::Auxiliary, f32)> {
    let joint = stage.options::<Joint>()?;
    Some((joint.auxiliary?, joint.auxiliary_weight))
}

impl Classifier {
    pub fn task(start: &Start<'_>, data: Arc<Data>) -> Result<ObjectiveTask<Classifier>> {
        let stage = start.request.stage;
        // A model that is only scored keeps its outputs.
        let own = match &start.request.init {
            Some(folder) if stage.kind == StageKind::Evaluate => labels_in(folder)?,
            _ => None,
        };
        let labels = own.unwrap_or_else(|| data.documents.label_names().to_vec());
        let outputs = outputs_of(&data.documents, &labels)?;
        let classes = labels.len();
        let parts = data.labelled(start.request.unit)?;
        let sizes = start.network(data.tokenizer.vocab_size());
        let joint = joint(stage);
        let vars = Vars::new();
        let network = Network::new(&vars, &sizes, classes, joint)?;
        let engine = start.engine(vars, &data.tokenizer)?;
        let keep = kept_end(stage.objective.kept_end());
        let options = BucketOptions {
            batch: stage.batch,
            max_len: stage.objective.length(),
            keep,
            shuffle: true,
            word_dropout: start.word_dropout(),
            autoencode: joint.is_some(),
        };
        let seed = start.request.unit.seed;
        let batches = BucketBatches::new(data.documents.clone(), &parts.train, options, seed)?;
        let scorer = Scorer::new(stage.batch, stage.objective.length(), keep, classes);
        let objective = Classifier {
            labels,
            outputs,
            sizes,
            network,
            data,
            parts,
            stage: stage.clone(),
            linear_gain: start.model.linear_gain,
            scorer,
        };
        ObjectiveTask::new(engine, objective, batches, stage)
    }
}

impl Labelled {
    fn new(
        gpu: &Gpu,
        steps: usize,
        batch: usize,
        linear_gain: bool,
        second: Option<config::Auxiliary>,
    ) -> Result<Labelled> {
        let count = steps * batch;
        let predictions = if linear_gain { count } else { batch };
        let second = match second {
            None => None,
            Some(kind) => Some(Second {
                shifted: match kind {
                    config::Auxiliary::Sa => Some((
                        TokenIds::empty(gpu, steps, batch)?,
                        Tensor::empty(gpu, [batch], DType::U32)?,
                    )),
                    config::Auxiliary::Lm => None,
                },
                targets: Tensor::empty(gpu, [count], DType::U32)?,
                weights: Tensor::empty(gpu, [count], DType::F32)?,
            }),
        };
        Ok(Labelled {
            ids: TokenIds::empty(gpu, steps, batch)?,
            lens: Tensor::empty(gpu, [batch], DType::U32)?,
            targets: Tensor::empty(gpu, [predictions], DType::U32)?,
            weights: Tensor::empty(gpu, [predictions], DType::F32)?,
            second,
        })
    }

    /// Uploads a batch of a step.
    fn write(
        &self,
        batch: &SequenceBatch,
        step: &[SequenceBatch],
        linear_gain: bool,
    ) -> Result<()> {
        self.ids.write(&batch.ids, &batch.index)?;
        self.lens.write(&batch.lens)?;
        let (targets, weights) = match linear_gain {
            true => gain(batch, step),
            false => (
                as_targets(&batch.labels),
                mean_weights(&batch.labels, step.iter().map(|b| &b.labels[..])),
            ),
        };
        self.targets.write(&targets)?;
        self.weights.write(&weights)?;
        let (Some(second), Some(decoder)) = (&self.second, &batch.decoder) else {
            return Ok(());
        };
        if let Some((shifted, lens)) = &second.shifted {
            shifted.write(&decoder.ids, &decoder.index)?;
            lens.write(&decoder.lens)?;
        }
        let autoencodes = second.shifted.is_some();
        let targets = second_targets(batch, autoencodes);
        let all: Vec<Vec<i32>> = step
            .iter()
            .map(|b| second_targets(b, autoencodes))
            .collect();
        let weights = mean_weights(&targets, all.iter().map(|t| &t[..]));
        second.targets.write(&as_targets(&targets))?;
        second.weights.write(&weights)
    }
}

/// The linear gain on labels: the state after word t of n predicts the label with weight t / n,
/// the weights of a row add up to 1 / rows of the step (Dai & Le 2015, section 2).
fn gain(batch: &SequenceBatch, step: &[SequenceBatch]) -> (Vec<u32>, Vec<f32>) {
    let rows: usize = step.iter().map(|b| count(&b.labels)).sum();
    let rows = rows.max(1) as f32;
    let mut targets = vec![u32::MAX; batch.ids.len()];
    let mut weights = vec![0.0; batch.ids.len()];
    for (b, (&label, &len)) in batch.labels.iter().zip(&batch.lens).enumerate() {
        let Ok(label) = u32::try_from(label) else {
            continue;
        };
        // Σ t = n(n + 1) / 2
        let sum = len as f32 * (len as f32 + 1.0) / 2.0;
        for t in 0..len as usize {
            targets[t * batch.batch + b] = label;
            weights[t * batch.batch + b] = (t + 1) as f32 / sum / rows;
        }
    }
    (targets, weights)
}

/// What the second objective predicts: an autoencoder the words, a language model the next one.
fn second_targets(batch: &SequenceBatch, autoencodes: bool) -> Vec<i32> {
    match &batch.decoder {
        None => Vec::new(),
        Some(decoder) if autoencodes => decoder.targets.clone(),
        Some(decoder) => next_tokens(batch, &decoder.targets),
    }
}

/// What a language model predicts after each word that the classifier reads: the next one. `words`
/// are the autoencoder's targets, which are the batch's words without word dropout.
fn next_tokens(batch: &SequenceBatch, words: &[i32]) -> Vec<i32> {
    let mut targets = vec![IGNORE; words.len()];
    let last = words.len() - batch.batch;
    targets[..last].copy_from_slice(&words[batch.batch..]);
    targets
}

impl Objective for Classifier {
    type Stream = BucketBatches;
    type Inputs = Labelled;

    fn describe(&self, _: &BucketBatches) -> TaskInfo {
        let documents = &self.data.documents;
        let lengths = self.parts.train.iter();
        TaskInfo {
            summary: format!(
                "classifier of {} classes, {} texts to learn from, {} to test on",
                self.labels.len(),
                self.parts.train.len(),
                self.parts.test.len(),
            ),
            tokens_per_epoch: lengths
                .map(|&doc| length(documents.ids(doc).len(), &self.stage))
                .sum(),
            ..TaskInfo::default()
        }
    }

    fn tokens(batch: &SequenceBatch) -> u64 {
        batch.lens.iter().map(|&n| u64::from(n)).sum()
    }

    fn inputs(&self, gpu: &Gpu, batch: &SequenceBatch, _: bool) -> Result<Labelled> {
        let second = self.network.second();
        Labelled::new(gpu, batch.time, batch.batch, self.linear_gain, second)
    }

    fn write(&self, l: &Labelled, batch: &SequenceBatch, step: &[SequenceBatch]) -> Result<u64> {
        l.write(batch, step, self.linear_gain)?;
        Ok(count(&batch.labels) as u64)
    }

    fn loss(&self, tape: &Tape, batch: &Labelled) -> Result<Tensor> {
        self.network.loss(tape, batch)
    }

    fn evaluate(
        &mut self,
        gpu: &Gpu,
        _: &mut Steps<Labelled>,
        split: Split,
    ) -> Result<Option<Scores>> {
        let Some(docs) = self.parts.held_out(split) else {
            return Ok(None);
        };
        let (model, documents) = (self.network.classifier(), &self.data.documents);
        self.scorer
            .scores(gpu, model, documents, docs, &self.outputs)
            .map(Some)
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        let architecture = Architecture::Classifier {
            labels: self.labels.clone(),
            max_len: self.stage.objective.length(),
            kept_end: self.stage.objective.kept_end(),
        };
        let mut files = Description::new(architecture, &self.sizes).files(engine, &self.data)?;
        // The decoder of joint training is no part of the classifier.
        if let ModelFiles::Melos { tensors, .. } = &mut files {
            tensors.retain(|name, _| !name.starts_with(&format!("{DECODER}.")));
        }
        Ok(files)
    }
}
