//! Scores of a model on a set of texts.

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use crate::error::{Error, Result};

/// What an evaluation gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Texts (classifier) or tokens (language model) scored.
    pub examples: u64,
    /// Mean cross entropy in nats, per text or per token.
    pub loss: f64,
    /// exp(loss), for language models and autoencoders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Share of masked tokens, or of texts with all their labels, that were predicted right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Share of right next-sentence predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sentence: Option<f64>,
    /// F1 over all labels of all texts together (micro), for several labels a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1: Option<f64>,
    /// Pearson's correlation, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<f64>,
    /// For classifiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassScores>,
    /// The answers one by one, where texts have some; not written with the scores.
    #[serde(skip)]
    pub analysis: Option<Analysis>,
}

/// How well labels were predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// Share of right labels.
    pub accuracy: f64,
    /// 1 − accuracy.
    pub error: f64,
    /// Mean of the classes' F1.
    pub macro_f1: f64,
    /// F1 per class.
    pub f1: Vec<f64>,
    /// `confusion[true][predicted]`: numbers of texts.
    pub confusion: Vec<Vec<u64>>,
}

impl Scores {
    /// Scores that are a mean loss and nothing else.
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score.
    pub fn mean(loss_sum: f64, examples: u64) -> Result<Self> {
        Self::of("the loss", loss_sum, examples)
    }

    fn of(what: &'static str, loss_sum: f64, examples: u64) -> Result<Self> {
        Ok(Self {
            examples,
            loss: mean(what, loss_sum, examples)?,
            ..Self::default()
        })
    }

    /// Scores of a language model or autoencoder.
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score.
    pub fn language(loss_sum: f64, tokens: u64) -> Result<Self> {
        let scores = Self::of("perplexity", loss_sum, tokens)?;
        Ok(Self {
            perplexity: Some(scores.loss.exp()),
            ..scores
        })
    }

    /// Scores of a classifier: `loss_sum` over texts, and how often each true class (outer) was
    /// predicted as each class (inner).
    ///
    /// # Errors
    /// [`Error::Metric`] where there is nothing to score or the matrix is not square.
    pub fn classifier(loss_sum: f64, confusion: Vec<Vec<u64>>) -> Result<Self> {
        let classes = ClassScores::new(confusion)?;
        let texts = classes.confusion.iter().flatten().sum();
        Ok(Self {
            classes: Some(classes),
            ..Self::mean(loss_sum, texts)?
        })
    }

    /// Whether numbers were to be said: the loss is then the mean squared error, and nothing else may be
    /// known.
    pub fn is_of_numbers(&self) -> bool {
        let others = [self.perplexity, self.accuracy, self.f1];
        self.classes.is_none() && others.iter().all(Option::is_none)
    }

    /// What the best checkpoint is chosen by, lower is better: the error of a classifier (ties
    /// are broken by the loss), the loss of anything else.
    pub fn to_minimise(&self) -> f64 {
        match &self.classes {
            // Errors differ by 1/examples at least, so a loss squeezed below that only breaks ties.
            Some(c) => {
                c.error + (self.loss / (1.0 + self.loss)).max(0.0) / (2.0 * self.examples as f64)
            }
            None => self.loss,
        }
    }
}

fn mean(what: &'static str, sum: f64, count: u64) -> Result<f64> {
    if count == 0 {
        return Err(Error::Metric {
            what,
            message: "there is no text to score; check the data and max_len".into(),
        });
    }
    Ok(sum / count as f64)
}

/// Labels that cannot be scored.
fn bad(message: String) -> Error {
    Error::Metric {
        what: "the accuracy",
        message,
    }
}

impl ClassScores {
    /// From `confusion[true][predicted]`.
    ///
    /// A class that is neither there nor predicted has F1 = 0, as in scikit-learn.
    ///
    /// # Errors
    /// [`Error::Metric`] where the matrix is empty, not square or all zero.
    pub fn new(confusion: Vec<Vec<u64>>) -> Result<Self> {
        let k = confusion.len();
        if k == 0 || confusion.iter().any(|row| row.len() != k) {
            return Err(bad(format!(
                "the confusion matrix is not square ({k} rows)"
            )));
        }
        let total: u64 = confusion.iter().flatten().sum();
        if total == 0 {
            return Err(bad("there is no text to score".into()));
        }
        let right: u64 = (0..k).map(|c| confusion[c][c]).sum();
        let f1: Vec<f64> = (0..k)
            .map(|c| {
                let there: u64 = confusion[c].iter().sum();
                let predicted: u64 = confusion.iter().map(|row| row[c]).sum();
                // F1 = 2·tp / (2·tp + fp + fn), and the denominator is there + predicted.
                match there + predicted {
                    0 => 0.0,
                    sum => 2.0 * confusion[c][c] as f64 / sum as f64,
                }
            })
            .collect();
        let accuracy = right as f64 / total as f64;
        Ok(Self {
            accuracy,
            error: (total - right) as f64 / total as f64,
            macro_f1: f1.iter().sum::<f64>() / k as f64,
            f1,
            confusion,
        })
    }

    /// From true and predicted labels, each below `classes`.
    ///
    /// # Errors
    /// [`Error::Metric`] where the lists differ in length or a label is out of range.
    pub fn from_labels(truth: &[usize], predicted: &[usize], classes: usize) -> Result<Self> {
        if truth.len() != predicted.len() {
            let (truth, predicted) = (truth.len(), predicted.len());
            return Err(bad(format!("{truth} labels and {predicted} predictions")));
        }
        let mut confusion = vec![vec![0; classes]; classes];
        for (&t, &p) in truth.iter().zip(predicted) {
            let cell = confusion.get_mut(t).and_then(|row| row.get_mut(p));
            let beyond = || format!("label {t} or prediction {p} is not below {classes}");
            *cell.ok_or_else(|| bad(beyond()))? += 1;
        }
        Self::new(confusion)
    }

    /// Texts with a wrong label.
    pub fn wrong(&self) -> u64 {
        let right: u64 = (0..self.confusion.len())
            .map(|c| self.confusion[c][c])
            .sum();
        self.confusion.iter().flatten().sum::<u64>() - right
    }
}

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
    fn three_classes_by_hand() {
        // class 0: 4 right of 5 there, 6 predicted: F1 = 8/11; class 1: 2 of 3, 2: 4/5; class 2: 1 of 2, 2: 2/4
        let truth = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2];
        let guess = [0, 0, 0, 0, 2, 1, 1, 0, 2, 0];
        let s = ClassScores::from_labels(&truth, &guess, 3).unwrap();
        near(s.accuracy, 0.7);
        near(s.error, 0.3);
        near(s.f1[0], 8.0 / 11.0);
        near(s.f1[1], 4.0 / 5.0);
        near(s.f1[2], 0.5);
        near(s.macro_f1, (8.0 / 11.0 + 0.8 + 0.5) / 3.0);
        assert_eq!(s.confusion, [[4, 0, 1], [1, 2, 0], [1, 0, 1]]);
        assert_eq!(s.wrong(), 3);
    }

    #[test]
    fn a_class_never_seen_counts_as_zero() {
        let s = ClassScores::from_labels(&[0, 0], &[0, 0], 2).unwrap();
        near(s.macro_f1, 0.5);
    }

    #[test]
    fn perplexity_of_a_uniform_guess_is_the_vocabulary() {
        let s = Scores::language(7.0 * 50f64.ln(), 7).unwrap();
        near(s.perplexity.unwrap(), 50.0);
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
    fn nothing_to_score_is_an_error() {
        assert!(Scores::language(0.0, 0).is_err());
        assert!(ClassScores::new(vec![]).is_err());
        assert!(ClassScores::new(vec![vec![0, 0], vec![0, 0]]).is_err());
        assert!(ClassScores::new(vec![vec![1], vec![0, 1]]).is_err());
        assert!(ClassScores::from_labels(&[0], &[5], 2).is_err());
        assert!(ClassScores::from_labels(&[0], &[], 2).is_err());
    }
}
