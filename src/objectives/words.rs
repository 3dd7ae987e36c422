//! "token_classify": the label of every word.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, Wrong};
use super::batch::{Batch, Batches, Named, Targets};
use super::classify::check_smoothing;
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, Purpose, Setup, Tally, able};
use super::entities;
use super::evidence::{Asked, Counts, Evidence};
use super::feed::Feed;
use super::labels::Labels;
use super::scores::Scores;
use super::{
    AnyObjective, ClassWeights, LENGTH, Labelled, Objective, Problem, WrongOption, check_length,
};
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Answers, Cut, Network, classification_loss};
use crate::ops;
use crate::tensor::{Tape, Tensor};
use crate::text::batch::IGNORE;
use crate::text::{Frame, Keep, TaggedBatch, TaggedBatches, TaggedDocuments};

/// Predicts a label for every word of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Words {
    /// Tokens of a text that are read; the rest is cut off.
    pub max_len: usize,
    /// Which end of a longer text is read.
    pub kept_end: Keep,
    /// Share of a target's probability that is spread evenly over all classes in training
    /// (Szegedy et al. 2016, section 7).
    pub label_smoothing: f32,
    /// How much the answers of each class count in training; absent: all the same.
    pub class_weights: Option<ClassWeights>,
}

impl Words {
    /// Its name in the run file.
    pub const NAME: &'static str = "token_classify";
}

impl Default for Words {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            kept_end: Keep::default(),
            label_smoothing: 0.0,
            class_weights: None,
        }
    }
}

impl Objective for Words {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "the label of every word"
    }

    fn labels(&self) -> Labelled {
        Labelled::OfWords
    }

    fn head(&self) -> Option<Head> {
        Some(Head::Token)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn class_weights(&self) -> Option<&ClassWeights> {
        self.class_weights.as_ref()
    }

    fn asked(&self) -> Asked {
        Asked::Words
    }

    fn kept_end(&self) -> Keep {
        self.kept_end
    }

    fn scoring(&self, cut: Cut, _: Problem) -> Option<AnyObjective> {
        let scoring = Words {
            max_len: cut.length,
            kept_end: cut.kept_end,
            ..Words::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        check_smoothing(self.label_smoothing)?;
        self.class_weights
            .as_ref()
            .map_or(Ok(()), ClassWeights::check)
    }

    fn criterion(&self, setup: Setup) -> Result<Box<dyn Criterion>> {
        let lacking = || Error::NoLabels {
            what: "a word classifier".into(),
            found: "none".into(),
        };
        Ok(Box::new(Tagging {
            options: self.clone(),
            tagged: (setup.tagged.clone()).ok_or_else(lacking)?,
            labels: (setup.labels.clone()).ok_or_else(lacking)?,
            setup,
        }))
    }
}

/// Texts with labelled words.
struct Tagging {
    options: Words,
    setup: Setup,
    tagged: Arc<TaggedDocuments>,
    labels: Arc<Labels>,
}

impl Criterion for Tagging {
    fn title(&self) -> String {
        format!("word classifier of {} classes", self.labels.names.len())
    }

    fn batches(&self, docs: &[u32], purpose: Purpose) -> Result<Box<dyn Batches>> {
        let Self { setup, options, .. } = self;
        let options = setup.rows(options.max_len, options.kept_end, purpose);
        let (tagged, vocabulary) = (self.tagged.clone(), self.setup.tokenizer.vocabulary());
        let stream = TaggedBatches::new(tagged, docs, vocabulary, options, purpose.seed())?;
        // The model's number of each label of the data.
        let numbers = self.labels.numbers();
        let weights = self.options.class_weights.as_ref();
        let weights = weights.filter(|_| purpose != Purpose::Scoring);
        let weights = weights.map(|weights| {
            let labels = docs.iter().flat_map(|&doc| self.tagged.labels(doc));
            let class = |label: u32| usize::try_from(*numbers.get(label as usize)?).ok();
            weights.of(&self.labels.names, labels.filter_map(class))
        });
        let named = move |b: TaggedBatch| {
            let number = |&label: &i32| match usize::try_from(label) {
                Ok(label) => numbers.get(label).copied().unwrap_or(IGNORE),
                Err(_) => IGNORE,
            };
            let targets = Targets::classes(b.labels.iter().map(number).collect());
            let targets = match &weights {
                Some(weights) => targets.weighted(weights),
                None => targets,
            };
            Batch::of_rows(b.inputs)
                .targets("targets", targets)
                .of(b.docs)
        };
        let work = self.setup.tokens(docs, 2, self.options.max_len);
        Ok(Box::new(Named::new(stream, work, named)))
    }

    fn coverage(&self, docs: &[u32]) -> Result<Coverage> {
        let Self { setup, options, .. } = self;
        let frame = Frame::of(setup.tokenizer.vocabulary())?;
        let rows = setup.rows(options.max_len, options.kept_end, Purpose::Scoring);
        let read = |&doc: &u32| {
            let [[tokens, labels], [read, asked]] = self.tagged.read(doc, &rows, frame);
            Read {
                tokens,
                read,
                answers: [labels, asked],
                ..Read::default()
            }
        };
        Ok(Coverage::of(Some("labels of words"), docs.iter().map(read)))
    }

    fn loss(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
        let (targets, weights) = feed.targets("targets")?;
        let answers = Answers {
            smoothing: self.options.label_smoothing,
            ..Answers::classes(targets, weights)
        };
        classification_loss(tape, &logits(tape, network, feed)?, &answers)
    }

    fn outputs(&self, tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Vec<Tensor>> {
        let (targets, weights) = feed.targets("targets")?;
        let logits = logits(tape, network, feed)?;
        let (loss, best) = ops::score_logits(tape, &logits, targets, weights)?;
        Ok(vec![loss, best])
    }

    fn tally(&self) -> Box<dyn Tally + '_> {
        let classes = self.labels.names.len();
        Box::new(Labelling {
            setup: &self.setup,
            names: &self.labels.names,
            wrong: Vec::new(),
            confusion: vec![vec![0; classes]; classes],
            loss: 0.0,
            entities: entities::are_marked(&self.labels.names).then(BTreeMap::new),
        })
    }
}

/// Logits of every token, (B·T, K).
fn logits(tape: &Tape, network: &dyn Network, feed: &Feed) -> Result<Tensor> {
    let model = able(network.as_tagger(), Words::NAME)?;
    let logits = model.logits(tape, &feed.tokens()?)?;
    logits.reshaped([logits.shape().rows(), logits.shape().last()])
}

/// Labels of words and entities, counted.
struct Labelling<'a> {
    setup: &'a Setup,
    names: &'a [String],
    /// Texts with words that were labelled wrong.
    wrong: Vec<Wrong>,
    confusion: Vec<Vec<u64>>,
    loss: f64,
    /// Entities by their kind, where the labels mark some.
    entities: Option<BTreeMap<String, Counts>>,
}

impl Tally for Labelling<'_> {
    fn add(&mut self, batch: &Batch, outputs: &[Tensor]) -> Result<()> {
        let ([mean, best], Some(targets)) = (outputs, batch.answers("targets")) else {
            return Ok(());
        };
        self.loss += f64::from(mean.to_vec::<f32>()?[0]) * targets.count() as f64;
        let (best, time) = (best.to_vec::<u32>()?, batch.length);
        let rows = targets.as_classes().chunks(time).zip(best.chunks(time));
        for ((truth, guess), &doc) in rows.zip(&batch.docs) {
            let pairs = truth.iter().zip(guess).filter(|(t, _)| **t != IGNORE);
            let pairs: Vec<(usize, usize)> =
                pairs.map(|(&t, &g)| (t as usize, g as usize)).collect();
            for &(t, g) in &pairs {
                self.confusion[t][g] += 1;
            }
            let name = |n: usize| self.names[n].as_str();
            let wrong = pairs.iter().filter(|(t, g)| t != g);
            let (is, said): (Vec<&str>, Vec<&str>) =
                wrong.map(|&(t, g)| (name(t), name(g))).unzip();
            if !is.is_empty() {
                self.wrong.push(Wrong {
                    doc,
                    truth: is.join(" "),
                    said: said.join(" "),
                    off: is.len() as f64 / pairs.len() as f64,
                });
            }
            if let Some(found) = &mut self.entities {
                let (truth, said): (Vec<&str>, Vec<&str>) =
                    pairs.iter().map(|&(t, g)| (name(t), name(g))).unzip();
                entities::count(found, &truth, &said);
            }
        }
        Ok(())
    }

    fn scores(&self) -> Result<Scores> {
        let (confusion, entities) = (self.confusion.clone(), self.entities.clone());
        let evidence = Evidence::words(self.loss, confusion, entities)?;
        let mut scores = Scores::of(evidence, self.names)?;
        scores.analysis = Some(Analysis {
            worst: self.setup.worst(self.wrong.clone())?,
        });
        Ok(scores)
    }
}
