//! Fine-tuning: the classifier, from its last state or with the linear gain on labels, alone or
//! together with a language model or autoencoder.

use std::sync::Arc;

use serde_json::Value;

use super::data::{Data, Parts};
use super::engine::{Engine, Steps, as_targets, kept_end, mean_weights, parse_position, position};
use super::model::{Architecture, Description, Scorer};
use super::network;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::lstm::{Auxiliary, ClassifierInputs, DECODER, JointClassifier, LstmClassifier};
use crate::ops::TokenIds;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::{BucketBatches, BucketOptions, SequenceBatch};
use crate::train::config::{self, Objective, StageConfig};
use crate::train::metrics::Scores;
use crate::train::state::TensorMap;
use crate::train::task::{ModelFiles, Split, StepContext, StepInfo, Task, TaskInfo, TaskRequest};

/// A batch of labelled sequences on the device.
struct Labelled {
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
    Classifier(LstmClassifier),
    Joint(JointClassifier, config::Auxiliary),
}

impl Network {
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
pub(super) struct ClassifierTask {
    engine: Engine,
    network: Network,
    data: Arc<Data>,
    parts: Parts,
    stage: StageConfig,
    linear_gain: bool,
    batches: BucketBatches,
    steps: Steps<Labelled>,
    scorer: Scorer,
}

impl ClassifierTask {
    pub fn new(gpu: Gpu, data: Arc<Data>, request: &TaskRequest<'_>) -> Result<ClassifierTask> {
        let stage = request.stage.clone();
        let classes = data.documents.label_names().len();
        let parts = data.labelled(request.unit)?;
        let sizes = network(&request.config.model, &stage, data.tokenizer.vocab_size());
        let joint = stage
            .auxiliary
            .filter(|_| stage.objective == Objective::Joint);
        let specs = match joint {
            Some(_) => sizes.joint_specs(classes),
            None => sizes.classifier_specs(classes),
        };
        let engine = Engine::new(gpu, sizes, specs, &data.tokenizer, request)?;
        let network = match joint {
            Some(kind) => {
                let weight = stage.auxiliary_weight;
                Network::Joint(
                    JointClassifier::new(&engine.store, &engine.network, weight)?,
                    kind,
                )
            }
            None => Network::Classifier(LstmClassifier::new(&engine.store, &engine.network)?),
        };
        let options = BucketOptions {
            batch: stage.batch,
            max_len: stage.max_len,
            keep: kept_end(stage.kept_end),
            shuffle: true,
            word_dropout: stage.dropout(&request.config.model).word,
            autoencode: joint.is_some(),
        };
        let seed = request.unit.seed;
        let batches = BucketBatches::new(data.documents.clone(), &parts.train, options, seed)?;
        let scorer = Scorer::new(
            stage.batch,
            stage.max_len,
            kept_end(stage.kept_end),
            classes,
        );
        Ok(ClassifierTask {
            engine,
            network,
            data,
            parts,
            stage,
            linear_gain: request.config.model.linear_gain,
            batches,
            steps: Steps::new(),
            scorer,
        })
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

    fn write(&self, batch: &SequenceBatch, linear_gain: bool) -> Result<()> {
        self.ids.write(&batch.ids, &batch.index)?;
        self.lens.write(&batch.lens)?;
        let labels = as_targets(&batch.labels);
        let (targets, weights) = match linear_gain {
            true => gain(batch, &labels),
            false => {
                let (weights, _) = mean_weights(&labels);
                (labels, weights)
            }
        };
        self.targets.write(&targets)?;
        self.weights.write(&weights)?;
        let (Some(second), Some(decoder)) = (&self.second, &batch.decoder) else {
            return Ok(());
        };
        let targets = match &second.shifted {
            Some((shifted, lens)) => {
                shifted.write(&decoder.ids, &decoder.index)?;
                lens.write(&decoder.lens)?;
                as_targets(&decoder.targets)
            }
            None => next_tokens(batch, &decoder.targets),
        };
        let (weights, _) = mean_weights(&targets);
        second.targets.write(&targets)?;
        second.weights.write(&weights)
    }
}

/// The linear gain on labels: the state after word t of n predicts the label with weight t / n,
/// the weights of a row add up to 1 / rows (Dai & Le 2015, section 2).
fn gain(batch: &SequenceBatch, labels: &[u32]) -> (Vec<u32>, Vec<f32>) {
    let rows = labels.iter().filter(|&&l| l != u32::MAX).count().max(1) as f32;
    let mut targets = vec![u32::MAX; batch.ids.len()];
    let mut weights = vec![0.0; batch.ids.len()];
    for (b, (&label, &len)) in labels.iter().zip(&batch.lens).enumerate() {
        if label == u32::MAX {
            continue;
        }
        // Σ t = n(n + 1) / 2
        let sum = len as f32 * (len as f32 + 1.0) / 2.0;
        for t in 0..len as usize {
            targets[t * batch.batch + b] = label;
            weights[t * batch.batch + b] = (t + 1) as f32 / sum / rows;
        }
    }
    (targets, weights)
}

/// What a language model predicts after each word that the classifier reads: the next one. `words`
/// are the autoencoder's targets, which are the batch's words without word dropout.
fn next_tokens(batch: &SequenceBatch, words: &[i32]) -> Vec<u32> {
    let mut targets = vec![u32::MAX; words.len()];
    let last = words.len() - batch.batch;
    targets[..last].copy_from_slice(&as_targets(&words[batch.batch..]));
    targets
}

impl Task for ClassifierTask {
    fn describe(&self) -> TaskInfo {
        let documents = &self.data.documents;
        let length = |&doc: &u32| (documents.ids(doc).len() + 1).min(self.stage.max_len) as u64;
        TaskInfo {
            summary: format!(
                "classifier of {} classes, {} texts to learn from, {} to test on, on {}",
                documents.label_names().len(),
                self.parts.train.len(),
                self.parts.test.len(),
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
            let (gpu, second) = (&self.engine.gpu, self.network.second());
            let inputs = Labelled::new(gpu, batch.time, batch.batch, self.linear_gain, second)?;
            self.engine
                .record(inputs, |tape, b| self.network.loss(tape, b))
        })?;
        step.inputs.write(&batch, self.linear_gain)?;
        self.engine.train(cx, step)?;
        Ok(StepInfo {
            tokens: batch.lens.iter().map(|&n| u64::from(n)).sum(),
        })
    }

    fn poll_losses(&mut self) -> Result<Vec<(u64, f32)>> {
        self.engine.poll()
    }

    fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        self.engine.drain()
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Scores>> {
        let docs = match split {
            Split::Validation => &self.parts.validation,
            Split::Test => &self.parts.test,
        };
        if docs.is_empty() {
            return Ok(None);
        }
        let (gpu, model) = (&self.engine.gpu, self.network.classifier());
        self.scorer
            .scores(gpu, model, &self.data.documents, docs)
            .map(Some)
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
        let architecture = Architecture::Classifier {
            labels: self.data.documents.label_names().to_vec(),
            max_len: self.stage.max_len,
            kept_end: self.stage.kept_end,
        };
        let mut files =
            Description::new(architecture, &self.engine.network).files(&self.engine, &self.data)?;
        // The decoder of joint training is no part of the classifier.
        files
            .tensors
            .retain(|name, _| !name.starts_with(&format!("{DECODER}.")));
        Ok(files)
    }
}
