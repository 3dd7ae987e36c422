//! Masked language models, alone or with next-sentence prediction.

use std::sync::Arc;

use super::basis::Basis;
use super::inputs::{Sequences, tokens};
use super::start;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::{MaskedTokens, NextSentence};
use crate::objectives::{Mlm, MlmNsp};
use crate::ops::{self, RowSelection};
use crate::tensor::{DType, Tape, Tensor};
use crate::text::pairs::PairOptions;
use crate::text::{
    Layout, MaskOptions, MaskRate, MaskedBatch, MaskedBatches, MaskedOptions, Position, RateShape,
    Refresh,
};
use crate::train::config::{self, RateKind, StageConfig};
use crate::train::metrics::Scores;
use crate::train::task::{ModelFiles, Split, TaskInfo, TaskRequest};
use crate::train::tasks::data::Data;
use crate::train::tasks::engine::{Engine, Step, Steps};
use crate::train::tasks::objective::{
    Objective, ObjectiveTask, Stream, as_targets, count, mean_weights,
};

/// Bytes of logits that scoring may hold at once.
const LOGITS: usize = 64 << 20;

/// Masked sequences on the device.
pub struct Inputs {
    sequences: Sequences,
    rows: RowSelection,
    targets: Tensor,
    weights: Tensor,
    /// Targets and weights of the second objective.
    next: Option<(Tensor, Tensor)>,
}

/// Masked-LM training.
pub struct MaskedLm {
    basis: Basis,
    seed: u64,
}

impl Stream for MaskedBatches {
    type Batch = MaskedBatch;

    fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch()
    }

    fn next(&mut self, step: u64, total: u64) -> MaskedBatch {
        let last = total.saturating_sub(1).max(1) as f64;
        self.next_batch(step.saturating_sub(1) as f64 / last)
    }

    fn position(&self) -> Position {
        self.position()
    }

    fn seek(&mut self, position: Position) {
        self.seek(position);
    }

    fn length(batch: &MaskedBatch) -> usize {
        batch.inputs.time
    }
}

/// The stage's masks.
fn masking(m: &config::Masking) -> MaskOptions {
    MaskOptions {
        rate: match m.rate {
            config::MaskRate::Fixed(rate) => MaskRate::constant(rate),
            config::MaskRate::Scheduled(s) => MaskRate {
                from: s.from,
                to: s.to,
                shape: match s.kind {
                    RateKind::Linear => RateShape::Linear,
                    RateKind::Cosine => RateShape::Cosine,
                },
            },
        },
        mask: f64::from(m.replace),
        random: f64::from(m.random),
        whole_word: m.whole_word,
        refresh: match m.dynamic {
            true => Refresh::Dynamic,
            false => Refresh::Static,
        },
    }
}

fn options(stage: &StageConfig) -> MaskedOptions {
    let pairs = stage.options::<MlmNsp>();
    let masked = stage.options::<Mlm>();
    let own = (pairs.map(|o| o.masking)).or(masked.map(|o| o.masking));
    let layout = match masked {
        Some(masked) if masked.packing => Layout::Packed,
        Some(_) => Layout::Sentences,
        None => Layout::Pairs,
    };
    MaskedOptions {
        batch: stage.batch,
        max_len: stage.objective.length(),
        layout,
        buckets: true,
        shuffle: true,
        masking: masking(&own.unwrap_or_default()),
        pairs: PairOptions::default(),
    }
}

/// How a stage is scored: always with the same masks, and with the usual rate and shares, so that
/// stages that mask otherwise can be compared.
fn scoring_options(stage: &StageConfig, vocabulary: usize) -> MaskedOptions {
    let masking = MaskOptions {
        refresh: Refresh::Static,
        ..MaskOptions::default()
    };
    let masked = (stage.objective.length() as f64 * masking.rate.max()).ceil() as usize;
    let rows = LOGITS / (size_of::<f32>() * vocabulary * masked.max(1));
    MaskedOptions {
        batch: stage.batch.min(rows.max(1)),
        shuffle: false,
        masking,
        ..options(stage)
    }
}

impl MaskedLm {
    /// The task of a stage.
    pub fn task(
        gpu: Gpu,
        data: Arc<Data>,
        request: &TaskRequest<'_>,
    ) -> Result<ObjectiveTask<MaskedLm>> {
        let stage = request.stage;
        let vocabulary = data.tokenizer.vocabulary();
        let (network, source) = start::network(request, vocabulary)?;
        let parts = data.text(stage, request.unit)?;
        let (documents, seed) = (data.documents.clone(), request.unit.seed);
        let batches =
            MaskedBatches::new(documents, &parts.train, vocabulary, &options(stage), seed)?;
        let started = start::start(gpu, request, network, source, batches.batches_per_epoch())?;
        let (engine, basis) = Basis::new(started, data, parts, stage)?;
        let objective = MaskedLm {
            basis,
            seed: request.config.seed,
        };
        ObjectiveTask::new(engine, objective, batches, stage)
    }

    fn wrong(&self) -> Error {
        super::wrong_network(&self.basis.stage)
    }

    /// Losses and best guesses of both objectives, without a gradient.
    fn score(&self, tape: &Tape, i: &Inputs) -> Result<Vec<Tensor>> {
        let (inputs, network) = (i.sequences.tokens(), &self.basis.network);
        let (words, next) = if let Some(model) = network.as_masked_lm() {
            (model.logits(tape, &inputs, &i.rows)?, None)
        } else {
            let model = network.as_next_sentence().ok_or_else(|| self.wrong())?;
            let [words, next] = model.logits(tape, &inputs, &i.rows)?;
            (words, Some(next))
        };
        let (loss, best) = ops::score_logits(tape, &words, &i.targets, &i.weights)?;
        let mut results = vec![loss, best];
        if let (Some(logits), Some((targets, weights))) = (next, &i.next) {
            let (loss, best) = ops::score_logits(tape, &logits, targets, weights)?;
            results.extend([loss, best]);
        }
        Ok(results)
    }
}

/// How many guesses are right.
fn right(best: &Tensor, targets: &[i32]) -> Result<u64> {
    let best = best.to_vec::<u32>()?;
    let pairs = best.iter().zip(targets);
    Ok(pairs
        .filter(|(b, t)| i64::from(**b) == i64::from(**t))
        .count() as u64)
}

impl Objective for MaskedLm {
    type Stream = MaskedBatches;
    type Inputs = Inputs;

    fn describe(&self, _: &MaskedBatches) -> TaskInfo {
        let documents = &self.basis.data.documents;
        let texts = &self.basis.parts.train;
        TaskInfo {
            summary: format!(
                "masked language model, {} texts, vocabulary {}",
                texts.len(),
                self.basis.config.vocab_size(),
            ),
            // A frame of two or three around each.
            tokens_per_epoch: texts
                .iter()
                .map(|&d| documents.ids(d).len() as u64 + 2)
                .sum(),
            notes: self.basis.notes.clone(),
            ..TaskInfo::default()
        }
    }

    fn tokens(batch: &MaskedBatch) -> u64 {
        tokens(&batch.inputs)
    }

    fn inputs(&self, gpu: &Gpu, batch: &MaskedBatch, _: bool) -> Result<Inputs> {
        let (rows, most) = (&batch.inputs, batch.rows.len());
        let pair = |n| -> Result<(Tensor, Tensor)> {
            Ok((
                Tensor::empty(gpu, [n], DType::U32)?,
                Tensor::empty(gpu, [n], DType::F32)?,
            ))
        };
        let (targets, weights) = pair(most)?;
        Ok(Inputs {
            sequences: Sequences::new(gpu, rows)?,
            rows: RowSelection::empty(gpu, rows.batch * rows.time, most)?,
            targets,
            weights,
            next: match &batch.next_sentence {
                Some(_) => Some(pair(rows.batch)?),
                None => None,
            },
        })
    }

    fn write(&self, i: &Inputs, batch: &MaskedBatch, step: &[MaskedBatch]) -> Result<u64> {
        i.sequences.write(&batch.inputs)?;
        i.rows.write(&batch.rows)?;
        i.targets.write(&as_targets(&batch.targets))?;
        let all = step.iter().map(|b| &b.targets[..]);
        i.weights.write(&mean_weights(&batch.targets, all))?;
        if let (Some((targets, weights)), Some(next)) = (&i.next, &batch.next_sentence) {
            targets.write(&as_targets(next))?;
            let all = step.iter().filter_map(|b| b.next_sentence.as_deref());
            weights.write(&mean_weights(next, all))?;
        }
        Ok(batch.masked as u64)
    }

    fn loss(&self, tape: &Tape, i: &Inputs) -> Result<Tensor> {
        let (inputs, network) = (i.sequences.tokens(), &self.basis.network);
        let masked = MaskedTokens {
            rows: &i.rows,
            targets: &i.targets,
            weights: &i.weights,
        };
        if let Some(model) = network.as_masked_lm() {
            return model.loss(tape, &inputs, &masked);
        }
        let (Some(model), Some((targets, weights))) = (network.as_next_sentence(), &i.next) else {
            return Err(self.wrong());
        };
        let next = NextSentence { targets, weights };
        let [words, next] = model.losses(tape, &inputs, &masked, &next)?;
        ops::add(tape, &words, &next)
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
        let options = scoring_options(&self.basis.stage, self.basis.config.vocab_size());
        let documents = self.basis.data.documents.clone();
        let vocabulary = self.basis.data.tokenizer.vocabulary();
        let mut batches = MaskedBatches::new(documents, texts, vocabulary, &options, self.seed)?;
        let (mut loss, mut hits, mut words) = (0.0, 0, 0);
        let (mut next_hits, mut pairs) = (0, 0);
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch(0.0);
            let step = scoring.of(batch.inputs.time, || {
                let inputs = self.inputs(gpu, &batch, false)?;
                Step::inference(gpu, inputs, |tape, i| self.score(tape, i))
            })?;
            let masked = self.write(&step.inputs, &batch, std::slice::from_ref(&batch))?;
            let results = step.run(gpu)?;
            if let [mean, best, ..] = results {
                loss += f64::from(mean.to_vec::<f32>()?[0]) * masked as f64;
                hits += right(best, &batch.targets)?;
                words += masked;
            }
            if let ([_, _, _, best], Some(next)) = (results, &batch.next_sentence) {
                next_hits += right(best, next)?;
                pairs += count(next) as u64;
            }
        }
        let mut scores = Scores::language(loss, words)?;
        scores.accuracy = Some(hits as f64 / words as f64);
        scores.next_sentence = (pairs > 0).then(|| next_hits as f64 / pairs as f64);
        Ok(Some(scores))
    }

    fn export(&self, engine: &Engine) -> Result<ModelFiles> {
        self.basis.export(engine)
    }
}
