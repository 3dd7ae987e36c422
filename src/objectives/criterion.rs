//! What an objective makes of a model and of texts: batches, a loss, scores.

use std::path::Path;
use std::sync::Arc;

use super::batch::{Batch, Batches};
use super::coverage::{Coverage, Read};
use super::feed::{Carried, Feed, Pass, Passes};
use super::labels::Labels;
use super::scores::Scores;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::images::{Pictures, Preprocessing};
use crate::models::{Config, Network, Reading};
use crate::tensor::{Tape, Tensor};
use crate::text::chat::ChatDocuments;
use crate::text::{Documents, Keep, LabelledOptions, TaggedDocuments, Tokenizer};

/// Pictures, and what is done to each before a model reads it.
#[derive(Debug, Clone)]
pub struct PictureData {
    /// The pictures, as many as there are documents.
    pub pictures: Arc<Pictures>,
    /// What is done to them.
    pub way: Preprocessing,
}

/// The texts that something is learned of or asked about, and how.
#[derive(Clone)]
pub struct Setup {
    /// The texts.
    pub documents: Arc<Documents>,
    /// The same with a label on every word, where they have some.
    pub tagged: Option<Arc<TaggedDocuments>>,
    /// What of them is learned, where they are conversations.
    pub chats: Option<Arc<ChatDocuments>>,
    /// The pictures that have their labels, where the data are pictures.
    pub pictures: Option<PictureData>,
    /// What made tokens of them.
    pub tokenizer: Arc<Tokenizer>,
    /// The model.
    pub config: Box<dyn Config>,
    /// What the texts' labels mean, where the objective learns some.
    pub labels: Option<Arc<Labels>>,
    /// Texts of a batch.
    pub batch: usize,
    /// By which the scored tokens are masked.
    pub seed: u64,
}

impl Setup {
    /// Tokens of `docs`, each with `frame` more and cut off at `most`.
    pub(super) fn tokens(&self, docs: &[u32], frame: usize, most: usize) -> u64 {
        let length = |&doc: &u32| (self.documents.ids(doc).len() + frame).min(most) as u64;
        docs.iter().map(length).sum()
    }

    /// The coverage of what reads every text whole.
    pub(super) fn all_read(&self, docs: &[u32]) -> Coverage {
        Coverage::of(
            None,
            docs.iter().map(|&doc| {
                let tokens = self.documents.ids(doc).len();
                Read {
                    tokens,
                    read: tokens,
                    ..Read::default()
                }
            }),
        )
    }

    /// The coverage of what reads at most so many tokens of a text step by step.
    pub(super) fn beginnings(
        &self,
        docs: &[u32],
        most: usize,
        what: Option<&'static str>,
    ) -> Coverage {
        Coverage::of(
            what,
            docs.iter().map(|&doc| {
                let tokens = self.documents.ids(doc).len();
                let read = tokens.min(most);
                Read {
                    tokens,
                    read,
                    answers: [tokens, read],
                    ..Read::default()
                }
            }),
        )
    }

    /// How texts become framed rows of labelled batches.
    pub(super) fn rows(&self, max_len: usize, keep: Keep, purpose: Purpose) -> LabelledOptions {
        LabelledOptions {
            batch: self.batch,
            max_len,
            keep,
            buckets: true,
            shuffle: purpose.shuffles(),
        }
    }

    /// Probability of dropping a word of the input.
    pub(super) fn word_dropout(&self, purpose: Purpose) -> f32 {
        match (self.config.reading(), purpose) {
            (Reading::Steps { word_dropout, .. }, Purpose::Training(_)) => word_dropout,
            _ => 0.0,
        }
    }
}

/// What batches are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To train on, in an order drawn from this seed.
    Training(u64),
    /// To be scored once, in order.
    Scoring,
}

impl Purpose {
    /// Whether the order is drawn.
    pub(super) fn shuffles(self) -> bool {
        self != Purpose::Scoring
    }

    /// The seed of the order.
    pub(super) fn seed(self) -> u64 {
        match self {
            Purpose::Training(seed) => seed,
            Purpose::Scoring => 0,
        }
    }
}

/// Batches that a model will be trained or scored on.
#[derive(Debug, Clone, Copy)]
pub struct ToCome<'a> {
    /// The documents.
    pub docs: &'a [u32],
    /// What they are for.
    pub purpose: Purpose,
    /// How many batches, if not all of an epoch.
    pub batches: u64,
}

/// A batch's documents, and the values of its numbers.
pub type OfBatch = (Vec<u32>, Vec<Vec<f32>>);

/// An objective's batches, loss and scores, for one model and the texts of a [`Setup`].
pub trait Criterion {
    /// What is trained, in a few words: "masked language model".
    fn title(&self) -> String;

    /// Batches of the documents `docs`.
    ///
    /// # Errors
    /// No documents; a batch or length that no text fits in; a missing special token.
    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>>;

    /// What of the documents `docs` goes into the batches of training, as far as it is known.
    ///
    /// # Errors
    /// As [`batches`](Self::batches).
    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        Ok(Coverage {
            texts: docs.len() as u64,
            ..Coverage::default()
        })
    }

    /// Asks the model, as it is before its first step, of what is to come, and keeps the answers in `folder`. They
    /// are the same whatever else is to come, so that a run that is resumed has the same.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn begin(
        &self,
        _gpu: &Gpu,
        _network: &dyn Network,
        _to_come: &[ToCome<'_>],
        _folder: &Path,
    ) -> Result<()> {
        Ok(())
    }

    /// The tensors that live from batch to batch, with their values before the first.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn carried(&self, _gpu: &Gpu, _network: &dyn Network) -> Result<Carried> {
        Ok(Vec::new())
    }

    /// The loss of a batch, its answers weighted, as (1).
    ///
    /// # Errors
    /// A network that cannot learn it; [`Error::Shape`].
    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor>;

    /// The loss of a batch, and the numbers from which follows what a step says besides: f32, as [`told`](Self::told)
    /// takes them.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn learn(
        &self,
        tape: &Tape,
        network: &dyn Network,
        feed: &Feed,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        Ok((self.loss(tape, network, feed)?, Vec::new()))
    }

    /// What a step says besides its loss, by the numbers of its batches.
    ///
    /// # Errors
    /// Answers that cannot be counted.
    fn told(&self, _step: &[OfBatch]) -> Result<Option<Scores>> {
        Ok(None)
    }

    /// What scores follow from, of a batch for scoring.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        Ok(vec![self.loss(tape, network, feed)?])
    }

    /// Begins to add up the scores of batches; those of a language model, unless it has its own.
    fn tally(&self) -> Box<dyn Tally + '_> {
        Box::new(LanguageTally::default())
    }
}

/// Scores that are being added up.
pub trait Tally {
    /// Adds a batch with the outputs of its pass.
    ///
    /// # Errors
    /// Whatever the device reports.
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()>;

    /// The scores of all that was added.
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score.
    fn scores(&self) -> Result<Scores>;
}

/// Mean loss per target "targets", as a language model's scores.
#[derive(Default)]
pub(super) struct LanguageTally {
    loss: f64,
    targets: u64,
}

impl LanguageTally {
    /// Adds the mean loss of a batch; returns how many targets it has.
    pub fn mean(&mut self, batch: &Batch, mean: &Tensor) -> Result<u64> {
        let count = batch.count("targets") as u64;
        self.loss += f64::from(mean.to_vec::<f32>()?[0]) * count as f64;
        self.targets += count;
        Ok(count)
    }

    /// The sum of all losses, and how many targets there are.
    pub fn sums(&self) -> (f64, u64) {
        (self.loss, self.targets)
    }
}

impl Tally for LanguageTally {
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()> {
        outputs.iter().try_for_each(|mean| {
            self.mean(batch, mean)?;
            Ok(())
        })
    }

    fn scores(&self) -> Result<Scores> {
        Scores::language(self.loss, self.targets)
    }
}

/// Runs models over texts; keeps its recorded passes, one for each length.
#[derive(Default)]
pub struct Scorer {
    passes: Passes,
    carried: Option<Carried>,
}

impl Scorer {
    /// Hands on each batch of `docs` with the outputs of its pass.
    ///
    /// # Errors
    /// Those of the batches and of the device.
    pub fn run(
        &mut self,
        gpu: &Gpu,
        network: &dyn Network,
        criterion: &dyn Criterion,
        docs: &[u32],
        each: &mut dyn FnMut(&Batch, &[Tensor]) -> Result<()>,
    ) -> Result<()> {
        let mut batches = criterion.batches(docs, Purpose::Scoring)?;
        let carried = match &mut self.carried {
            Some(carried) => carried,
            none => none.insert(criterion.carried(gpu, network)?),
        };
        for _ in 0..batches.per_epoch() {
            let batch = batches.next(1, 1);
            let pass = self.passes.of(batch.length, || {
                let feed = Feed::new(gpu, &batch, carried.clone())?;
                Pass::inference(gpu, feed, |tape, feed| {
                    criterion.outputs(tape, network, feed)
                })
            })?;
            pass.feed.write(&batch, std::slice::from_ref(&batch))?;
            each(&batch, pass.run(gpu)?)?;
        }
        Ok(())
    }

    /// Scores a model on `docs`.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Metric`] where there is nothing to score.
    pub fn scores(
        &mut self,
        gpu: &Gpu,
        network: &dyn Network,
        criterion: &dyn Criterion,
        docs: &[u32],
    ) -> Result<Scores> {
        let mut tally = criterion.tally();
        self.run(gpu, network, criterion, docs, &mut |batch, outputs| {
            tally.add(batch, outputs)
        })?;
        tally.scores()
    }
}

/// What a network can do, where it can.
pub(super) fn able<T>(ability: Option<T>, objective: &'static str) -> Result<T> {
    let expected = "one that the model's head can learn";
    ability.ok_or_else(|| Error::argument("train", "objective", objective, expected))
}
