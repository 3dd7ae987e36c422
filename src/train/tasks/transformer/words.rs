//! Classifiers of words: named entities and the like.

use std::sync::Arc;

use super::basis::Basis;
use super::inputs::{Sequences, tokens};
use super::labels;
use super::sequence::options;
use super::start;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::Tagger;
use crate::objectives::Words;
use crate::ops;
use crate::tensor::{DType, Tape, Tensor};
use crate::text::batch::IGNORE;
use crate::text::{LabelledOptions, Position, TaggedBatch, TaggedBatches, TaggedDocuments};
use crate::train::config::{Problem, StageKind};
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo, TaskRequest};
use crate::train::tasks::data::Data;
use crate::train::tasks::engine::{Engine, Step, Steps};
use crate::train::tasks::objective::{
    Objective, ObjectiveTask, Stream, as_targets, count, mean_weights,
};

/// Texts with labelled words on the device.
pub struct Inputs {
    sequences: Sequences,
    targets: Tensor,
    weights: Tensor,
}

/// Batches whose labels are numbered as the model's outputs.
pub struct Numbered {
    batches: TaggedBatches,
    /// The model's number of each label of the data.
    numbers: Arc<Vec<i32>>,
}

impl Stream for Numbered {
    type Batch = TaggedBatch;

    fn batches_per_epoch(&self) -> u64 {
        self.batches.batches_per_epoch()
    }

    fn next(&mut self, _: u64, _: u64) -> TaggedBatch {
        let mut batch = self.batches.next_batch();
        for label in batch.labels.iter_mut().filter(|label| **label != IGNORE) {
            *label = self.numbers.get(*label as usize).copied().unwrap_or(IGNORE);
        }
        batch
    }

    fn position(&self) -> Position {
        self.batches.position()
    }

    fn seek(&mut self, position: Position) {
        self.batches.seek(position);
    }

    fn length(batch: &TaggedBatch) -> usize {
        batch.inputs.time
    }
}

/// Word-classifier training.
pub struct WordClassifier {
    basis: Basis,
    tagged: Arc<TaggedDocuments>,
    names: Vec<String>,
    /// The number in `names` of each label of the data.
    numbers: Arc<Vec<i32>>,
}

impl WordClassifier {
    /// The task of a stage.
    pub fn task(
        gpu: Gpu,
        data: Arc<Data>,
        request: &TaskRequest<'_>,
    ) -> Result<ObjectiveTask<WordClassifier>> {
        let stage = request.stage;
        let vocabulary = data.tokenizer.vocabulary();
        let (mut network, source) = start::network(request, vocabulary)?;
        let tagged = data.tagged()?;
        let classes: Vec<&str> = tagged.label_names().iter().map(String::as_str).collect();
        let known = labels::known(source.as_ref());
        let fixed = stage.kind == StageKind::Evaluate;
        let numbering = labels::number(known.as_deref(), &classes, fixed)?;
        let names = numbering.names;
        network.set_labels(labels::of_config(&names, Problem::SingleLabel));
        let source = source.map(|s| if numbering.kept { s } else { s.without_head() });
        let numbers = numbering.outputs.iter().map(|&output| output as i32);
        let numbers = Arc::new(numbers.collect::<Vec<_>>());
        let parts = data.tagged_parts(request.unit)?;
        let batches = Numbered {
            batches: TaggedBatches::new(
                tagged.clone(),
                &parts.train,
                vocabulary,
                options(stage),
                request.unit.seed,
            )?,
            numbers: numbers.clone(),
        };
        let started = start::start(gpu, request, network, source, batches.batches_per_epoch())?;
        let (engine, basis) = Basis::new(started, data, parts, stage)?;
        let objective = WordClassifier {
            basis,
            tagged,
            names,
            numbers,
        };
        ObjectiveTask::new(engine, objective, batches, stage)
    }

    fn model(&self) -> Result<&dyn Tagger> {
        let model = self.basis.network.as_tagger();
        model.ok_or_else(|| super::wrong_network(&self.basis.stage))
    }
}

/// An entity: its kind, its first word, one past its last.
type Span<'a> = (&'a str, usize, usize);

/// The entities that labels of the form B-KIND, I-KIND, O mark; as seqeval's default reads them, an
/// I- without a beginning begins one.
fn entities<'a>(labels: &[&'a str]) -> Vec<Span<'a>> {
    let mut spans: Vec<Span<'a>> = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    for (at, label) in labels.iter().chain([&"O"]).enumerate() {
        let (mark, kind) = label.split_once('-').unwrap_or(("O", ""));
        let goes_on = mark == "I" && open.is_some_and(|(k, _)| k == kind);
        if goes_on {
            continue;
        }
        if let Some((kind, start)) = open.take() {
            spans.push((kind, start, at));
        }
        if mark == "B" || mark == "I" {
            open = Some((kind, at));
        }
    }
    spans
}

impl Objective for WordClassifier {
    type Stream = Numbered;
    type Inputs = Inputs;

    fn describe(&self, _: &Numbered) -> TaskInfo {
        TaskInfo {
            summary: format!(
                "word classifier of {} classes, {} texts to learn from, {} to test on",
                self.names.len(),
                self.basis.parts.train.len(),
                self.basis.parts.test.len(),
            ),
            tokens_per_epoch: self.basis.tokens_per_epoch(),
            notes: self.basis.notes.clone(),
            ..TaskInfo::default()
        }
    }

    fn tokens(batch: &TaggedBatch) -> u64 {
        tokens(&batch.inputs)
    }

    fn inputs(&self, gpu: &Gpu, batch: &TaggedBatch, _: bool) -> Result<Inputs> {
        let places = batch.labels.len();
        Ok(Inputs {
            sequences: Sequences::new(gpu, &batch.inputs)?,
            targets: Tensor::empty(gpu, [places], DType::U32)?,
            weights: Tensor::empty(gpu, [places], DType::F32)?,
        })
    }

    fn write(&self, i: &Inputs, batch: &TaggedBatch, step: &[TaggedBatch]) -> Result<u64> {
        let all = step.iter().map(|b| &b.labels[..]);
        i.sequences.write(&batch.inputs)?;
        i.targets.write(&as_targets(&batch.labels))?;
        i.weights.write(&mean_weights(&batch.labels, all))?;
        Ok(count(&batch.labels) as u64)
    }

    fn loss(&self, tape: &Tape, i: &Inputs) -> Result<Tensor> {
        let logits = self.model()?.logits(tape, &i.sequences.tokens())?;
        let flat = logits.reshaped([logits.shape().rows(), logits.shape().last()])?;
        let own = self.basis.stage.options::<Words>();
        let smoothing = own.map_or(0.0, |o| o.label_smoothing);
        if smoothing > 0.0 {
            return ops::smoothed_cross_entropy(tape, &flat, &i.targets, &i.weights, smoothing);
        }
        ops::cross_entropy(tape, &flat, &i.targets, &i.weights)
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
        let options = LabelledOptions {
            shuffle: false,
            ..options(&self.basis.stage)
        };
        let vocabulary = self.basis.data.tokenizer.vocabulary();
        let mut batches = Numbered {
            batches: TaggedBatches::new(self.tagged.clone(), texts, vocabulary, options, 0)?,
            numbers: self.numbers.clone(),
        };
        let classes = self.names.len();
        let mut confusion = vec![vec![0; classes]; classes];
        let (mut loss, mut hits, mut said, mut there) = (0.0, 0, 0, 0);
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next(1, 1);
            let step = scoring.of(batch.inputs.time, || {
                let inputs = self.inputs(gpu, &batch, false)?;
                Step::inference(gpu, inputs, |tape, i| {
                    let logits = self.model()?.logits(tape, &i.sequences.tokens())?;
                    let flat = logits.reshaped([logits.shape().rows(), classes])?;
                    let (loss, best) = ops::score_logits(tape, &flat, &i.targets, &i.weights)?;
                    Ok(vec![loss, best])
                })
            })?;
            let words = self.write(&step.inputs, &batch, std::slice::from_ref(&batch))?;
            let [mean, best] = step.run(gpu)? else {
                continue;
            };
            loss += f64::from(mean.to_vec::<f32>()?[0]) * words as f64;
            let best = best.to_vec::<u32>()?;
            let time = batch.inputs.time;
            for (truth, guess) in batch.labels.chunks(time).zip(best.chunks(time)) {
                let pairs = truth.iter().zip(guess).filter(|(t, _)| **t != IGNORE);
                let pairs: Vec<(usize, usize)> =
                    pairs.map(|(&t, &g)| (t as usize, g as usize)).collect();
                for &(t, g) in &pairs {
                    confusion[t][g] += 1u64;
                }
                let name = |n: usize| self.names[n].as_str();
                let truth = entities(&pairs.iter().map(|p| name(p.0)).collect::<Vec<_>>());
                let guess = entities(&pairs.iter().map(|p| name(p.1)).collect::<Vec<_>>());
                hits += guess.iter().filter(|span| truth.contains(span)).count();
                said += guess.len();
                there += truth.len();
            }
        }
        let mut scores = Scores::classifier(loss, confusion)?;
        // Of entities, where the labels mark some.
        scores.f1 = (there > 0).then(|| 2.0 * hits as f64 / (said + there) as f64);
        Ok(Some(scores))
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        self.basis.export(engine)
    }
}

#[cfg(test)]
mod tests {
    use super::entities;

    #[test]
    fn entities_are_read_as_seqeval_does() {
        let labels = [
            "B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-PER", "O", "B-PER",
        ];
        let expected = [
            ("PER", 0, 2),
            ("LOC", 3, 4),
            ("LOC", 4, 5),
            ("PER", 5, 6),
            ("PER", 7, 8),
        ];
        assert_eq!(entities(&labels), expected);
        assert_eq!(entities(&["O", "NOUN"]), []);
    }
}
