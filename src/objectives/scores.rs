//! Scores of a model on a set of texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::evidence::{Asked, Confusion, Counts, Evidence};
use super::metrics::{self, METRICS, Metric};
use crate::error::{Error, Result};

/// What an evaluation gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Texts (classifier), words or tokens (language model) scored.
    pub examples: u64,
    /// Mean loss in nats, per text, word or token; of numbers the mean squared error.
    pub loss: f64,
    /// What was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// By what the best checkpoint is chosen.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "metrics::by_name"
    )]
    pub metric: Option<&'static Metric>,
    /// All metrics that have a value, by their names.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
    /// Each class, where labels were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassScores>,
    /// Each kind of entity, where the labels of words mark some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<ClassScores>,
    /// The answers one by one, where texts have some; not written with the scores.
    #[serde(skip)]
    pub analysis: Option<Analysis>,
}

/// Classes whose confusion matrix is still read.
pub const MATRIX: usize = 20;

/// Classes one by one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// What they are called.
    #[serde(default)]
    pub names: Vec<String>,
    /// Share of what was said that is there.
    #[serde(default)]
    pub precision: Vec<f64>,
    /// Share of what is there that was said.
    #[serde(default)]
    pub recall: Vec<f64>,
    /// The harmonic mean of both.
    pub f1: Vec<f64>,
    /// How often each is there.
    #[serde(default)]
    pub support: Vec<u64>,
    /// How often each was said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predicted: Vec<u64>,
    /// `confusion[true][predicted]`, where each answer is one class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Confusion,
}

impl ClassScores {
    fn new(counts: &[Counts], names: Vec<String>, confusion: Confusion) -> Self {
        let each = |of: fn(&Counts) -> f64| counts.iter().map(of).collect();
        Self {
            names,
            precision: each(Counts::precision),
            recall: each(Counts::recall),
            f1: each(Counts::f1),
            support: counts.iter().map(|c| c.there).collect(),
            predicted: counts.iter().map(|c| c.said).collect(),
            confusion,
        }
    }

    /// Rows of cells for each class, the first of them the head; `what` says what a class is.
    pub fn table(&self, what: &str) -> Vec<Vec<String>> {
        let head = [what, "precision", "recall", "F1", "support"];
        let mut rows = vec![head.map(String::from).to_vec()];
        let each = self.names.iter().zip(&self.precision).zip(&self.recall);
        let each = each.zip(&self.f1).zip(&self.support);
        rows.extend(each.map(|((((name, precision), recall), f1), support)| {
            let share = |share: &f64| format!("{share:.3}");
            let [precision, recall, f1] = [precision, recall, f1].map(share);
            vec![name.clone(), precision, recall, f1, support.to_string()]
        }));
        rows
    }

    /// Rows of cells of the confusion matrix, the first of them the head; `None` where there is none, or
    /// it is too large to be read.
    pub fn matrix(&self) -> Option<Vec<Vec<String>>> {
        if self.confusion.is_empty() || self.confusion.len() > MATRIX {
            return None;
        }
        let head = ["true \\ predicted".to_string()];
        let head: Vec<String> = head.into_iter().chain(self.names.clone()).collect();
        let rows = self.names.iter().zip(&self.confusion).map(|(name, row)| {
            let counts = row.iter().map(u64::to_string);
            [name.clone()].into_iter().chain(counts).collect()
        });
        Some([head].into_iter().chain(rows).collect())
    }

    /// Answers that are right.
    pub fn right(&self) -> u64 {
        (0..self.confusion.len())
            .map(|c| self.confusion[c][c])
            .sum()
    }
}

impl Scores {
    /// The scores that follow from counted answers; `names` are those of the classes.
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score.
    pub fn of(evidence: Evidence, names: &[String]) -> Result<Self> {
        if evidence.answers == 0 {
            return Err(Error::Metric {
                what: "the scores",
                message: "there is no text to score; check the data and max_len".into(),
            });
        }
        let asked = evidence.asked;
        // A number that JSON cannot hold, as a perplexity beyond all bounds, is none.
        let value = |metric: &Metric| {
            let value = (metric.of)(&evidence).filter(|value| value.is_finite());
            Some((metric.name.to_string(), value?))
        };
        let fit = METRICS
            .iter()
            .filter(|m| m.asked.contains(&asked) && m.name != LOSS);
        let metrics = fit.filter_map(value).collect();
        let usual = metrics::usual(asked, evidence.entities.is_some());
        let (classes, confusion) = (&evidence.classes, evidence.confusion);
        let entities = evidence.entities.as_ref().map(|kinds| {
            let counts: Vec<Counts> = kinds.values().copied().collect();
            ClassScores::new(&counts, kinds.keys().cloned().collect(), Vec::new())
        });
        Ok(Self {
            examples: evidence.answers,
            loss: evidence.loss / evidence.answers as f64,
            asked: Some(asked),
            metric: usual.first().and_then(|name| metrics::find(name)),
            metrics,
            classes: (!classes.is_empty())
                .then(|| ClassScores::new(classes, names.to_vec(), confusion)),
            entities,
            analysis: None,
        })
    }

    /// Scores that are a mean loss and nothing else.
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score.
    pub fn mean(loss_sum: f64, examples: u64) -> Result<Self> {
        Ok(Self {
            metric: metrics::find(LOSS),
            metrics: BTreeMap::new(),
            asked: None,
            ..Self::language(loss_sum, examples)?
        })
    }

    /// Scores of a language model or autoencoder.
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score.
    pub fn language(loss_sum: f64, tokens: u64) -> Result<Self> {
        Self::of(Evidence::tokens(loss_sum, tokens), &[])
    }

    /// Scores of a classifier: `loss_sum` over texts, and how often each true class (outer) was
    /// predicted as each class (inner).
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score or the matrix is not square.
    pub fn classifier(loss_sum: f64, confusion: Confusion) -> Result<Self> {
        let names: Vec<String> = (0..confusion.len())
            .map(|class| class.to_string())
            .collect();
        Self::of(Evidence::label(loss_sum, confusion)?, &names)
    }

    /// The same, to be judged by another metric.
    pub fn by(self, metric: Option<&'static Metric>) -> Self {
        Self {
            metric: metric.or(self.metric),
            ..self
        }
    }

    /// The value of a metric, where it has one.
    pub fn value(&self, name: &str) -> Option<f64> {
        if name == LOSS {
            return Some(self.loss);
        }
        // Scores of before there were metrics have a confusion matrix.
        let counted = || {
            let classes = self.classes.as_ref()?;
            let evidence = Evidence::label(0.0, classes.confusion.clone()).ok()?;
            (metrics::find(name)?.of)(&evidence)
        };
        let known = self.metrics.get(name).copied();
        known.or_else(|| counted().filter(|_| self.metric.is_none()))
    }

    /// The metric that they are judged by: of scores of before there were metrics the error, or the loss.
    pub fn metric(&self) -> Option<&'static Metric> {
        let old = if self.classes.is_some() { ERROR } else { LOSS };
        self.metric.or_else(|| metrics::find(old))
    }

    /// The metrics that are told, with their values: the one that they are judged by first.
    pub fn told(&self) -> Vec<(&'static Metric, f64)> {
        let mut names: Vec<&str> = self.metric().map(|m| m.name).into_iter().collect();
        if let Some(asked) = self.asked {
            names.extend(metrics::usual(asked, self.entities.is_some()));
        }
        let mut told: Vec<(&'static Metric, f64)> = Vec::new();
        for name in names {
            if let (Some(metric), Some(value)) = (metrics::find(name), self.value(name))
                && told.iter().all(|(m, _)| *m != metric)
            {
                told.push((metric, value));
            }
        }
        told
    }

    /// What the best checkpoint is chosen by, lower is better: the metric, and of equals the loss. What
    /// has no value is worse than all that has.
    pub fn to_minimise(&self) -> [f64; 2] {
        let Some(metric) = self.metric() else {
            return [self.loss, 0.0];
        };
        match (metric.name, self.value(metric.name)) {
            // The loss orders as perplexity does, and is never too large.
            ("loss" | "perplexity", _) => [self.loss, 0.0],
            ("error" | "accuracy", _) if self.value(ERROR).is_some() => {
                let error = self.value(ERROR).unwrap_or(1.0);
                // Errors differ by 1/examples at least, so a loss squeezed below that only breaks ties.
                let tie = (self.loss / (1.0 + self.loss)).max(0.0);
                [error + tie / (2.0 * self.examples as f64), 0.0]
            }
            (_, Some(value)) if metric.higher_is_better => [-value, self.loss],
            (_, Some(value)) => [value, self.loss],
            (_, None) => [f64::from(f32::MAX), self.loss],
        }
    }
}

const LOSS: &str = "loss";
const ERROR: &str = "error";

/// Probabilities of classes.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let exps: Vec<f64> = logits.iter().map(|z| f64::from(z - top).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| (e / sum) as f32).collect()
}

/// The place of the largest number.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn perplexity_of_a_uniform_guess_is_the_vocabulary() {
        let s = Scores::language(7.0 * 50f64.ln(), 7).unwrap();
        near(s.value("perplexity").unwrap(), 50.0);
    }

    #[test]
    fn a_better_error_wins_over_any_loss() {
        let better = Scores::classifier(1e9, vec![vec![9, 1], vec![0, 10]]).unwrap();
        let worse = Scores::classifier(0.0, vec![vec![9, 1], vec![1, 9]]).unwrap();
        assert!(better.to_minimise() < worse.to_minimise());
        let tie = Scores::classifier(1.0, vec![vec![9, 1], vec![1, 9]]).unwrap();
        assert!(worse.to_minimise() < tie.to_minimise());
    }

    #[test]
    fn another_metric_chooses_otherwise() {
        // One class for all: fewer errors, and nothing learned.
        let lazy = Scores::classifier(1.0, vec![vec![0, 3], vec![0, 7]]).unwrap();
        let fair = Scores::classifier(9.0, vec![vec![2, 1], vec![3, 4]]).unwrap();
        assert!(lazy.to_minimise() < fair.to_minimise());
        let by_mcc = |s: &Scores| s.clone().by(metrics::find("mcc"));
        assert!(by_mcc(&fair).to_minimise() < by_mcc(&lazy).to_minimise());
    }

    #[test]
    fn what_has_no_value_is_worse_than_the_worst() {
        let of = |said: [f64; 3]| {
            let numbers = [1.0, 2.0, 3.0].into_iter().zip(said).collect();
            Scores::of(Evidence::numbers(numbers), &[]).unwrap()
        };
        let (flat, upside_down) = (of([2.0; 3]), of([9.0, 5.0, 1.0]));
        assert_eq!(flat.value("spearman"), None);
        near(upside_down.value("spearman").unwrap(), -1.0);
        assert!(upside_down.to_minimise() < flat.to_minimise());
        // Of equals the loss decides.
        assert!(flat.to_minimise() < of([99.0; 3]).to_minimise());
    }

    #[test]
    fn scores_of_before_there_were_metrics_are_read() {
        let old = r#"{"examples":10,"loss":0.5,"classes":{"accuracy":0.7,"error":0.3,"macro_f1":0.6,
            "f1":[0.8,0.4],"confusion":[[6,1],[2,1]]}}"#;
        let old: Scores = serde_json::from_str(old).unwrap();
        near(old.value("error").unwrap(), 0.3);
        let now = Scores::classifier(5.0, vec![vec![6, 1], vec![2, 1]]).unwrap();
        assert_eq!(old.to_minimise(), now.to_minimise());
        assert_eq!(old.told()[0].0.name, "error");
        let old: Scores =
            serde_json::from_str(r#"{"examples":3,"loss":2.0,"perplexity":7.4}"#).unwrap();
        assert_eq!(old.value("perplexity"), Some(7.4));
        assert_eq!(old.to_minimise(), [2.0, 0.0]);
    }

    #[test]
    fn nothing_to_score_is_an_error() {
        assert!(Scores::language(0.0, 0).is_err());
        assert!(Scores::classifier(0.0, vec![]).is_err());
        assert!(Scores::classifier(0.0, vec![vec![0, 0], vec![0, 0]]).is_err());
        assert!(Scores::classifier(0.0, vec![vec![1], vec![0, 1]]).is_err());
        assert!(Evidence::of_labels(&[0], &[5], 2).is_err());
        assert!(Evidence::of_labels(&[0], &[], 2).is_err());
    }
}
