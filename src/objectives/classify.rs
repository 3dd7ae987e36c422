//! "classify": the label of a text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::analysis;
use super::batch::{Batch, Batches, Named, Targets};
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, Purpose, Setup, Tally, able};
use super::evidence::Asked;
use super::feed::Feed;
use super::labels::{self, Labels};
use super::scores::Scores;
use super::{
    AnyObjective, ClassWeights, LENGTH, Labelled, Objective, WrongOption, check_length, require,
};
use crate::error::Result;
use crate::hub::Head;
use crate::models::{Answers, Cut, Network, ProblemType, Reading};
use crate::tensor::{Tape, Tensor};
use crate::text::batch::NO_DOC;
use crate::text::{self, Maker};
use crate::text::{
    BucketBatches, BucketOptions, Documents, Frame, Keep, LabelledBatch, LabelledBatches, Rows,
    SequenceBatch,
};

/// Predicts the label of a text or of a pair of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classify {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: Keep,
    /// What a label is.
    pub problem: Problem,
    /// Which texts an epoch of training has.
    pub sampling: Sampling,
    /// Share of a target's probability that is spread evenly over all classes in training
    /// (Szegedy et al. 2016, section 7).
    pub label_smoothing: f32,
    /// How much the answers of each class count in training; absent: all the same.
    pub class_weights: Option<ClassWeights>,
}

/// Which texts an epoch of training has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Each once.
    #[default]
    All,
    /// As many as there are, the same number of each class.
    Balanced,
}

/// What a label is: transformers' `problem_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// One class of several.
    #[default]
    SingleLabel,
    /// Any number of classes, separated by commas in the label column.
    MultiLabel,
    /// A number.
    Regression,
}

impl Problem {
    /// What a model is asked.
    pub fn asked(self) -> Asked {
        match self {
            Problem::SingleLabel => Asked::Label,
            Problem::MultiLabel => Asked::Labels,
            Problem::Regression => Asked::Number,
        }
    }
}

impl From<Problem> for ProblemType {
    fn from(problem: Problem) -> ProblemType {
        match problem {
            Problem::SingleLabel => ProblemType::SingleLabelClassification,
            Problem::MultiLabel => ProblemType::MultiLabelClassification,
            Problem::Regression => ProblemType::Regression,
        }
    }
}

impl From<ProblemType> for Problem {
    fn from(problem: ProblemType) -> Problem {
        match problem {
            ProblemType::SingleLabelClassification => Problem::SingleLabel,
            ProblemType::MultiLabelClassification => Problem::MultiLabel,
            ProblemType::Regression => Problem::Regression,
        }
    }
}

impl Classify {
    /// Its name in the run file.
    pub const NAME: &'static str = "classify";
}

impl Default for Classify {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: Keep::default(),
            problem: Problem::default(),
            sampling: Sampling::default(),
            label_smoothing: 0.0,
            class_weights: None,
        }
    }
}

impl Objective for Classify {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the label of a text"
    }

    fn labels(&self) -> Labelled {
        Labelled::OfTexts
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Sequence)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn class_weights(&self) -> Option<&ClassWeights> {
        self.class_weights.as_ref()
    }

    fn asked(&self) -> Asked {
        self.problem.asked()
    }

    fn kept_end(&self) -> Keep {
        self.kept_end
    }

    fn problem(&self) -> Problem {
        self.problem
    }

    fn scoring(&self, cut: Cut, problem: Problem) -> Option<AnyObjective> {
        let scoring = Classify {
            max_len: cut.length,
            kept_end: cut.kept_end,
            problem,
            ..Classify::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_smoothing(self.label_smoothing)?;
        require(
            self.label_smoothing == 0.0 || self.problem == Problem::SingleLabel,
            "label_smoothing",
            "is for texts of one label each (problem = \"single_label\")",
        )?;
        let balanced = self.sampling == Sampling::Balanced;
        require(
            !balanced || self.problem == Problem::SingleLabel,
            "sampling",
            "\"balanced\" is for texts of one label each (problem = \"single_label\")",
        )?;
        require(
            !balanced || self.class_weights != Some(ClassWeights::Balanced),
            "sampling",
            "\"balanced\" and class_weights = \"balanced\" do the same; set one of them",
        )?;
        let Some(weights) = &self.class_weights else {
            return Ok(());
        };
        require(
            self.problem == Problem::SingleLabel,
            "class_weights",
            "are for texts of one label each (problem = \"single_label\")",
        )?;
        weights.check()
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        Ok(Box::new(Classification::new(self.clone(), setup)))
    }
}

/// Checks `label_smoothing`.
pub(super) fn check_smoothing(smoothing: f32) -> Result<(), WrongOption> {
    require(
        (0.0..1.0).contains(&smoothing),
        "label_smoothing",
        "is a share: expected 0 or more and less than 1",
    )
}

/// Labelled texts.
pub(super) struct Classification {
    options: Classify,
    pub(super) setup: Setup,
}

impl Classification {
    pub(super) fn new(options: Classify, setup: Setup) -> Classification {
        Classification { options, setup }
    }

    /// How texts that are read step by step become batches.
    pub(super) fn bucket_options(&self, purpose: Purpose, autoencode: bool) -> BucketOptions {
        BucketOptions {
            batch: self.setup.batch,
            max_len: self.options.max_len,
            keep: self.options.kept_end,
            shuffle: purpose.shuffles(),
            word_dropout: self.setup.word_dropout(purpose),
            autoencode,
        }
    }

    /// Tokens of an epoch: a text has a frame of two, or ends with an `<eos>`.
    pub(super) fn work(&self, docs: &[u32]) -> u64 {
        let frame = match self.setup.config.reading() {
            Reading::Rows => 2,
            Reading::Steps { .. } => 1,
            Reading::Pictures(_) => 0,
        };
        self.setup.tokens(docs, frame, self.options.max_len)
    }

    /// What is said of the texts of a batch for this purpose.
    pub(super) fn answering(&self, docs: &[u32], purpose: Purpose) -> Answering {
        let labels = self.setup.labels.clone();
        let weights = labels.as_ref().zip(self.options.class_weights.as_ref());
        let weights = weights.map(|(labels, weights)| {
            let target = |&doc: &u32| labels.target(&self.setup.documents, doc);
            let classes = docs.iter().filter_map(target).map(labels::class);
            weights.of(&labels.names, classes)
        });
        Answering {
            documents: self.setup.documents.clone(),
            labels: labels.filter(|_| purpose != Purpose::Scoring),
            weights,
            reading: self.setup.config.reading(),
        }
    }

    /// A stream of the texts, sampled as the options say.
    fn sampled<M: Maker>(&self, stream: text::Batches<M>, purpose: Purpose) -> text::Batches<M> {
        let Setup {
            documents, labels, ..
        } = &self.setup;
        match labels {
            Some(labels)
                if self.options.sampling == Sampling::Balanced && purpose != Purpose::Scoring =>
            {
                let class = |doc| labels.target(documents, doc).map(labels::class);
                stream.balanced(labels.names.len(), class)
            }
            _ => stream,
        }
    }

    /// The answers of a batch.
    pub(super) fn answers<'a>(&self, feed: &'a Feed) -> Result<Answers<'a>> {
        let (targets, weights) = feed.targets("targets")?;
        Ok(Answers {
            problem: self.options.problem.into(),
            targets,
            weights,
            smoothing: self.options.label_smoothing,
        })
    }
}

/// What should be said of texts.
pub(super) struct Answering {
    documents: Arc<Documents>,
    /// `None`: nothing is to be said.
    labels: Option<Arc<Labels>>,
    /// Of each class.
    weights: Option<Vec<f32>>,
    reading: Reading,
}

impl Answering {
    /// Of framed rows.
    fn rows(&self, b: LabelledBatch) -> Batch {
        let (last, of) = (last_tokens(&b.inputs), b.inputs.ids.len());
        let targets = self.targets(&b.docs);
        let batch = Batch::of_rows(b.inputs).rows("last", last, of);
        self.answered(batch, targets).of(b.docs)
    }

    /// Of texts that are read step by step.
    pub(super) fn steps(&self, b: SequenceBatch) -> Batch {
        let targets = match self.reading {
            Reading::Steps {
                linear_gain: true, ..
            } => self.rising(&b),
            _ => self.targets(&b.docs),
        };
        let work = b.lens.iter().map(|&n| u64::from(n)).sum();
        let batch = Batch::new(b.time, work)
            .ids("ids", b.ids, b.index, [b.time, b.batch])
            .numbers("lens", b.lens);
        self.answered(batch, targets).of(b.docs)
    }

    fn answered(&self, batch: Batch, targets: Option<Targets>) -> Batch {
        match (targets, &self.weights) {
            (Some(targets), Some(weights)) => batch.targets("targets", targets.weighted(weights)),
            (Some(targets), None) => batch.targets("targets", targets),
            (None, _) => batch,
        }
    }

    fn targets(&self, docs: &[u32]) -> Option<Targets> {
        let labels = self.labels.as_ref()?;
        let target = |&doc: &u32| labels.target(&self.documents, doc);
        Some(labels.targets(&docs.iter().map(target).collect::<Vec<_>>()))
    }

    /// The linear gain on labels: the state after word t of n predicts the label with weight t / n, and
    /// the weights of a text add up to those of one (Dai & Le 2015, section 2).
    fn rising(&self, b: &SequenceBatch) -> Option<Targets> {
        let count = self.targets(&b.docs)?.count();
        let mut docs = vec![NO_DOC; b.ids.len()];
        let mut shares = vec![0.0; b.ids.len()];
        for (row, (&doc, &len)) in b.docs.iter().zip(&b.lens).enumerate() {
            if self.documents.label(doc).is_none() {
                continue;
            }
            // Σ t = n(n + 1) / 2
            let sum = len as f32 * (len as f32 + 1.0) / 2.0;
            for t in 0..len as usize {
                docs[t * b.batch + row] = doc;
                shares[t * b.batch + row] = (t + 1) as f32 / sum;
            }
        }
        Some(self.targets(&docs)?.shared(shares, count))
    }
}

/// Where each row's last token stands in the flattened batch, by which decoders classify; `u32::MAX`
/// for an empty row.
fn last_tokens(rows: &Rows) -> Vec<u32> {
    let last = |(row, &len): (u32, &u32)| match len.checked_sub(1) {
        Some(last) => row * rows.time as u32 + last,
        None => u32::MAX,
    };
    (0u32..).zip(&rows.lens).map(last).collect()
}

impl Criterion for Classification {
    fn title(&self) -> String {
        let classes = self.setup.config.labels().count();
        match self.options.problem {
            Problem::Regression => "regression".into(),
            _ => format!("classifier of {classes} classes"),
        }
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let (documents, seed) = (self.setup.documents.clone(), purpose.seed());
        let (work, answering) = (self.work(docs), self.answering(docs, purpose));
        if let Reading::Steps { .. } = answering.reading {
            let options = self.bucket_options(purpose, false);
            let stream = self.sampled(BucketBatches::new(documents, docs, options, seed)?, purpose);
            return Ok(Box::new(Named::new(stream, work, move |b| {
                answering.steps(b)
            })));
        }
        let Self { setup, options, .. } = self;
        let options = setup.rows(options.max_len, options.kept_end, purpose);
        let vocabulary = self.setup.tokenizer.vocabulary();
        let stream = LabelledBatches::new(documents, docs, vocabulary, options, seed)?;
        let stream = self.sampled(stream, purpose);
        Ok(Box::new(Named::new(stream, work, move |b| {
            answering.rows(b)
        })))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        let (setup, options) = (&self.setup, &self.options);
        if let Reading::Steps { .. } = setup.config.reading() {
            return Ok(setup.beginnings(docs, options.max_len - 1, None));
        }
        let frame = Frame::of(setup.tokenizer.vocabulary())?;
        let rows = setup.rows(options.max_len, options.kept_end, Purpose::Scoring);
        let documents = &setup.documents;
        let read = |&doc: &u32| {
            let [first, second] = rows.read(documents, doc, frame);
            let pair = documents.texts(doc).1;
            Read {
                tokens: documents.ids(doc).len(),
                read: first + second,
                second_cut: pair.is_some_and(|pair| second < pair.len()),
                ..Read::default()
            }
        };
        Ok(Coverage::of(None, docs.iter().map(read)))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let model = able(network.as_classifier(), Classify::NAME)?;
        model.loss(tape, &feed.tokens()?, &self.answers(feed)?)
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let model = able(network.as_classifier(), Classify::NAME)?;
        Ok(vec![model.logits(tape, &feed.tokens()?)?])
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        Box::new(Said {
            of: self,
            outputs: Vec::new(),
        })
    }
}

/// What a model said of documents.
struct Said<'a> {
    of: &'a Classification,
    outputs: Vec<(u32, Vec<f32>)>,
}

impl Tally for Said<'_> {
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()> {
        self.outputs.extend(rows(batch, outputs)?);
        Ok(())
    }

    fn scores(&self) -> Result<Scores> {
        let Setup {
            documents, labels, ..
        } = &self.of.setup;
        match labels {
            Some(labels) => {
                let setup = &self.of.setup;
                let analysis = analysis::of_texts(labels, setup, &self.outputs)?;
                Ok(Scores {
                    analysis: Some(analysis),
                    ..labels::scores(labels, documents, &self.outputs)?
                })
            }
            None => Scores::mean(0.0, 0),
        }
    }
}

/// The logits (B, K) of a batch's documents, by their numbers.
pub(crate) fn rows(batch: &Batch, outputs: &[Tensor]) -> Result<Vec<(u32, Vec<f32>)>> {
    let mut all = Vec::new();
    for logits in outputs {
        let (width, values) = (logits.shape().last(), logits.to_vec::<f32>()?);
        let row = |row: usize| values[row * width..(row + 1) * width].to_vec();
        all.extend(batch.documents().map(|(at, doc)| (doc, row(at))));
    }
    Ok(all)
}
