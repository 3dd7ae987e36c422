//! "token_classify": the label of every word.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, Wrong};
use super::batch::{Batch, Batches, Named, Targets};
use super::classify::check_smoothing;
use super::coverage::{Coverage, Read};
use super::criterion::{Criterion, Purpose, Setup, Tally, able};
use super::feed::Feed;
use super::labels::Labels;
use super::scores::Scores;
use super::{AnyObjective, LENGTH, Labelled, Objective, Problem, WrongOption, check_length};
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
        check_smoothing(self.label_smoothing)
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
        let named = move |b: TaggedBatch| {
            let number = |&label: &i32| match usize::try_from(label) {
                Ok(label) => numbers.get(label).copied().unwrap_or(IGNORE),
                Err(_) => IGNORE,
            };
            let targets = Targets::classes(b.labels.iter().map(number).collect());
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
            hits: 0,
            said: 0,
            there: 0,
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
    /// Entities that were found, that were said to be there, that are there.
    hits: usize,
    said: usize,
    there: usize,
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
            let truth = entities(&pairs.iter().map(|p| name(p.0)).collect::<Vec<_>>());
            let guess = entities(&pairs.iter().map(|p| name(p.1)).collect::<Vec<_>>());
            self.hits += guess.iter().filter(|span| truth.contains(span)).count();
            self.said += guess.len();
            self.there += truth.len();
        }
        Ok(())
    }

    fn scores(&self) -> Result<Scores> {
        let mut scores = Scores::classifier(self.loss, self.confusion.clone())?;
        // Of entities, where the labels mark some.
        let all = (self.said + self.there) as f64;
        scores.f1 = (self.there > 0).then(|| 2.0 * self.hits as f64 / all);
        scores.analysis = Some(Analysis {
            classes: self.names.to_vec(),
            worst: self.setup.worst(self.wrong.clone())?,
        });
        Ok(scores)
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
