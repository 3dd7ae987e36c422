//! Models that classify sequences, and what they say of texts.

use std::sync::Arc;

use super::inputs::{Sequences, last_tokens};
use super::labels::Labels;
use super::network::Network;
use crate::device::Gpu;
use crate::error::Result;
use crate::models::bert::BertForSequenceClassification;
use crate::models::gpt2::Gpt2ForSequenceClassification;
use crate::nn::LoraPlan;
use crate::ops::{self, RowSelection};
use crate::tensor::{ParamStore, Tape, Tensor};
use crate::text::batch::NO_DOC;
use crate::text::{Documents, LabelledBatches, LabelledOptions, Rows, Vocabulary};
use crate::train::config::Problem;
use crate::train::metrics::{Scores, argmax, softmax};
use crate::train::tasks::engine::{Step, Steps};

/// A model that classifies sequences.
pub enum SequenceModel {
    /// From the pooled first token.
    Bert(Box<BertForSequenceClassification>),
    /// From the last token.
    Gpt2(Box<Gpt2ForSequenceClassification>),
}

/// Sequences to classify, on the device.
pub struct Texts {
    pub sequences: Sequences,
    /// Each row's last token, which GPT-2 reads.
    last: RowSelection,
}

impl Texts {
    /// Memory for such rows.
    pub fn new(gpu: &Gpu, rows: &Rows) -> Result<Texts> {
        Ok(Texts {
            sequences: Sequences::new(gpu, rows)?,
            last: RowSelection::empty(gpu, rows.batch * rows.time, rows.batch)?,
        })
    }

    /// Uploads rows.
    pub fn write(&self, rows: &Rows) -> Result<()> {
        self.last.write(&last_tokens(rows))?;
        self.sequences.write(rows)
    }
}

impl SequenceModel {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when one is missing.
    pub fn new(
        store: &ParamStore,
        network: &Network,
        plan: &LoraPlan,
        checkpointing: bool,
    ) -> Result<SequenceModel> {
        Ok(match network {
            Network::Bert(config) => {
                let mut model = BertForSequenceClassification::new(store, config, plan)?;
                model.bert.checkpointing = checkpointing;
                SequenceModel::Bert(Box::new(model))
            }
            Network::Gpt2(config) => {
                let mut model = Gpt2ForSequenceClassification::new(store, config, plan)?;
                model.gpt2.checkpointing = checkpointing;
                SequenceModel::Gpt2(Box::new(model))
            }
        })
    }

    /// Logits (B, K).
    pub fn logits(&self, tape: &Tape, texts: &Texts) -> Result<Tensor> {
        match self {
            SequenceModel::Bert(model) => model.logits(tape, &texts.sequences.bert()),
            SequenceModel::Gpt2(model) => model.logits(tape, &texts.sequences.ids, &texts.last),
        }
    }

    /// The weighted loss, (1), against targets smoothed by `smoothing`.
    pub fn loss(
        &self,
        tape: &Tape,
        texts: &Texts,
        targets: &Tensor,
        weights: &Tensor,
        smoothing: f32,
    ) -> Result<Tensor> {
        if smoothing > 0.0 {
            let logits = self.logits(tape, texts)?;
            return ops::smoothed_cross_entropy(tape, &logits, targets, weights, smoothing);
        }
        match self {
            SequenceModel::Bert(m) => m.loss(tape, &texts.sequences.bert(), targets, weights),
            SequenceModel::Gpt2(m) => {
                m.loss(tape, &texts.sequences.ids, &texts.last, targets, weights)
            }
        }
    }
}

/// Classifies documents; keeps its recorded passes, one for each length.
pub struct Scorer {
    options: LabelledOptions,
    passes: Steps<Texts>,
}

impl Scorer {
    /// A scorer that reads as `options` say, in the documents' order.
    pub fn new(options: LabelledOptions) -> Scorer {
        Scorer {
            options: LabelledOptions {
                shuffle: false,
                ..options
            },
            passes: Steps::new(),
        }
    }

    /// The outputs for each document, in no particular order.
    ///
    /// # Errors
    /// Those of the batches and of the device.
    pub fn outputs(
        &mut self,
        gpu: &Gpu,
        model: &SequenceModel,
        vocabulary: &Vocabulary,
        documents: &Arc<Documents>,
        docs: &[u32],
    ) -> Result<Vec<(u32, Vec<f32>)>> {
        let options = self.options.clone();
        let mut batches = LabelledBatches::new(documents.clone(), docs, vocabulary, options, 0)?;
        let mut all = Vec::with_capacity(docs.len());
        for _ in 0..batches.batches_per_epoch() {
            let batch = batches.next_batch();
            let pass = self.passes.of(batch.inputs.time, || {
                let texts = Texts::new(gpu, &batch.inputs)?;
                Step::inference(gpu, texts, |tape, t| Ok(vec![model.logits(tape, t)?]))
            })?;
            pass.inputs.write(&batch.inputs)?;
            let [logits] = pass.run(gpu)? else { continue };
            let width = logits.shape().last();
            let values = logits.to_vec::<f32>()?;
            for (row, &doc) in values.chunks(width).zip(&batch.docs) {
                if doc != NO_DOC {
                    all.push((doc, row.to_vec()));
                }
            }
        }
        Ok(all)
    }
}

/// Outputs as they are shown: probabilities of classes, or numbers.
pub fn shown(problem: Problem, row: &[f32]) -> Vec<f32> {
    match problem {
        Problem::SingleLabel => softmax(row),
        Problem::MultiLabel => row.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect(),
        Problem::Regression => row.to_vec(),
    }
}

/// Scores of what a model says of labelled documents.
///
/// # Errors
/// [`crate::Error::Metric`] where there is nothing to score.
pub fn scores(
    labels: &Labels,
    documents: &Documents,
    outputs: &[(u32, Vec<f32>)],
) -> Result<Scores> {
    let known = outputs
        .iter()
        .filter_map(|(doc, row)| Some((labels.target(documents, *doc)?, row)));
    match labels.problem {
        Problem::SingleLabel => {
            let classes = labels.names.len();
            let mut confusion = vec![vec![0u64; classes]; classes];
            let mut loss = 0.0;
            for (target, row) in known {
                let probabilities = softmax(row);
                let class = Labels::class(target) as usize;
                let (Some(counts), Some(p)) = (confusion.get_mut(class), probabilities.get(class))
                else {
                    continue;
                };
                counts[argmax(&probabilities)] += 1;
                loss -= f64::from(p.max(f32::MIN_POSITIVE)).ln();
            }
            Scores::classifier(loss, confusion)
        }
        Problem::MultiLabel => {
            let (mut loss, mut exact, mut texts) = (0.0, 0u64, 0u64);
            let (mut hits, mut said, mut true_) = (0u64, 0u64, 0u64);
            for (target, row) in known {
                let mut all = true;
                for (&t, &z) in target.iter().zip(row) {
                    // log(1 + e^-|z|) + max(z, 0) - z t: the stable form.
                    let z = f64::from(z);
                    loss += (-z.abs()).exp().ln_1p() + z.max(0.0) - z * f64::from(t);
                    let (says, is) = (z > 0.0, t > 0.5);
                    all &= says == is;
                    hits += u64::from(says && is);
                    said += u64::from(says);
                    true_ += u64::from(is);
                }
                exact += u64::from(all);
                texts += 1;
            }
            let mut scores = Scores::mean(loss / labels.names.len() as f64, texts)?;
            scores.accuracy = Some(exact as f64 / texts as f64);
            scores.f1 = Some(2.0 * hits as f64 / (said + true_).max(1) as f64);
            Ok(scores)
        }
        Problem::Regression => {
            let pairs: Vec<(f64, f64)> = known
                .filter_map(|(t, row)| Some((f64::from(*t.first()?), f64::from(*row.first()?))))
                .collect();
            let loss = pairs.iter().map(|(t, y)| (t - y).powi(2)).sum();
            let mut scores = Scores::mean(loss, pairs.len() as u64)?;
            scores.correlation = pearson(&pairs);
            Ok(scores)
        }
    }
}

/// Pearson's correlation; `None` where one side does not vary.
fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}
