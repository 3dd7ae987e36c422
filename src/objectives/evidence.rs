//! What a model said beside what is right, counted: all that metrics are computed from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entities;
use crate::error::{Error, Result};

/// What a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The tokens of a text, one after the other.
    Tokens,
    /// Tokens that are masked.
    MaskedTokens,
    /// One label of a text.
    Label,
    /// Any number of labels of a text.
    Labels,
    /// A number.
    Number,
    /// The label of every word.
    Words,
    /// Which answers are better.
    Preferences,
}

impl Asked {
    /// What the answers are, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Asked::Tokens => "the next token",
            Asked::MaskedTokens => "masked tokens",
            Asked::Label => "one label of each text",
            Asked::Labels => "several labels of each text",
            Asked::Number => "numbers",
            Asked::Words => "the labels of words",
            Asked::Preferences => "which answers are better",
        }
    }
}

/// How often something was said, is there, and was said where it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Said and there.
    pub hits: u64,
    /// Said.
    pub said: u64,
    /// There.
    pub there: u64,
}

/// `part / whole`; 0 where there is no whole, as scikit-learn and seqeval have it.
fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

impl Counts {
    /// Share of what was said that is there.
    pub fn precision(&self) -> f64 {
        share(self.hits, self.said)
    }

    /// Share of what is there that was said.
    pub fn recall(&self) -> f64 {
        share(self.hits, self.there)
    }

    /// The harmonic mean of both: 2 hits / (said + there).
    pub fn f1(&self) -> f64 {
        share(2 * self.hits, self.said + self.there)
    }

    /// All counts together.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Counts>) -> Counts {
        let add = |sum: Counts, one: &Counts| Counts {
            hits: sum.hits + one.hits,
            said: sum.said + one.said,
            there: sum.there + one.there,
        };
        all.into_iter().fold(Counts::default(), add)
    }
}

/// `[true][predicted]`: how often a class was predicted as each class.
pub type Confusion = Vec<Vec<u64>>;

/// Answers, counted. What was not asked is empty.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What was asked.
    pub asked: Asked,
    /// Sum of the losses of all answers.
    pub loss: f64,
    /// Answers: tokens, texts or words.
    pub answers: u64,
    /// Answers that are right, where each is right or wrong.
    pub right: Option<u64>,
    /// Right answers to whether one text follows the other, and all.
    pub next_sentence: Option<[u64; 2]>,
    /// Of one label each.
    pub confusion: Confusion,
    /// Each class.
    pub classes: Vec<Counts>,
    /// Each kind of entity, where the labels of words mark some.
    pub entities: Option<BTreeMap<String, Counts>>,
    /// True and predicted numbers.
    pub numbers: Vec<(f64, f64)>,
    /// Mean rewards of good and of bad answers, where there are some.
    pub rewards: [Option<f64>; 2],
}

/// What a model finds of a pair of answers, or of one that is good or bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preferred {
    loss: f64,
    /// Of the good answer and of the bad one.
    rewards: [Option<f64>; 2],
    right: bool,
}

impl Preferred {
    /// Of a pair, whose better answer comes first: right is the larger reward of that.
    pub fn pair(loss: f64, rewards: [f64; 2]) -> Preferred {
        Preferred {
            loss,
            rewards: rewards.map(Some),
            right: rewards[0] > rewards[1],
        }
    }

    /// Of one answer: right is a reward above 0 of a good one and below 0 of a bad one.
    pub fn judged(loss: f64, reward: f64, good: bool) -> Preferred {
        Preferred {
            loss,
            rewards: if good {
                [Some(reward), None]
            } else {
                [None, Some(reward)]
            },
            right: if good { reward > 0.0 } else { reward < 0.0 },
        }
    }
}

/// Answers that cannot be counted.
fn bad(message: String) -> Error {
    Error::Metric {
        what: "the scores",
        message,
    }
}

impl Evidence {
    fn empty(asked: Asked, loss: f64, answers: u64) -> Self {
        Self {
            asked,
            loss,
            answers,
            right: None,
            next_sentence: None,
            confusion: Vec::new(),
            classes: Vec::new(),
            entities: None,
            numbers: Vec::new(),
            rewards: [None; 2],
        }
    }

    /// Of so many tokens, with the sum of their losses.
    pub fn tokens(loss: f64, tokens: u64) -> Self {
        Self::empty(Asked::Tokens, loss, tokens)
    }

    /// Of so many masked tokens, of which some were guessed right.
    pub fn masked_tokens(loss: f64, tokens: u64, right: u64) -> Self {
        Self {
            right: Some(right),
            ..Self::empty(Asked::MaskedTokens, loss, tokens)
        }
    }

    /// Of one label each.
    ///
    /// # Errors
    /// [`Error::Metric`] where the matrix is empty or not square.
    pub fn label(loss: f64, confusion: Confusion) -> Result<Self> {
        let k = confusion.len();
        if k == 0 || confusion.iter().any(|row| row.len() != k) {
            let message = format!("the confusion matrix is not square ({k} rows)");
            return Err(bad(message));
        }
        let classes = |class: usize| Counts {
            hits: confusion[class][class],
            said: confusion.iter().map(|row| row[class]).sum(),
            there: confusion[class].iter().sum(),
        };
        let classes: Vec<Counts> = (0..k).map(classes).collect();
        let all = Counts::sum(&classes);
        Ok(Self {
            right: Some(all.hits),
            classes,
            confusion,
            ..Self::empty(Asked::Label, loss, all.there)
        })
    }

    /// Of true and predicted labels, each below `classes`.
    ///
    /// # Errors
    /// [`Error::Metric`] where the lists differ in length or a label is out of range.
    pub fn of_labels(truth: &[usize], said: &[usize], classes: usize) -> Result<Self> {
        if truth.len() != said.len() {
            let (truth, said) = (truth.len(), said.len());
            return Err(bad(format!("{truth} labels and {said} predictions")));
        }
        let mut confusion = vec![vec![0; classes]; classes];
        for (&t, &s) in truth.iter().zip(said) {
            let cell = confusion.get_mut(t).and_then(|row| row.get_mut(s));
            let beyond = || format!("label {t} or prediction {s} is not below {classes}");
            *cell.ok_or_else(|| bad(beyond()))? += 1;
        }
        Self::label(0.0, confusion)
    }

    /// Of any number of labels each: for each text what is there and what was said of each class.
    pub fn labels(
        loss: f64,
        classes: usize,
        texts: impl IntoIterator<Item = Vec<(bool, bool)>>,
    ) -> Self {
        let mut found = Self {
            right: Some(0),
            classes: vec![Counts::default(); classes],
            ..Self::empty(Asked::Labels, loss, 0)
        };
        for text in texts {
            for (counts, &(there, said)) in found.classes.iter_mut().zip(&text) {
                counts.hits += u64::from(there && said);
                counts.said += u64::from(said);
                counts.there += u64::from(there);
            }
            let exact = text.iter().all(|(there, said)| there == said);
            found.right = found.right.map(|right| right + u64::from(exact));
            found.answers += 1;
        }
        found
    }

    /// Of true and predicted numbers; their loss is the squared error.
    pub fn numbers(numbers: Vec<(f64, f64)>) -> Self {
        let loss = numbers.iter().map(|(t, y)| (t - y).powi(2)).sum();
        Self {
            numbers: numbers.clone(),
            ..Self::empty(Asked::Number, loss, numbers.len() as u64)
        }
    }

    /// Of what a model finds of answers.
    pub fn preferences(answers: &[Preferred]) -> Self {
        let mean = |at: usize| {
            let rewards: Vec<f64> = answers.iter().filter_map(|a| a.rewards[at]).collect();
            (!rewards.is_empty()).then(|| rewards.iter().sum::<f64>() / rewards.len() as f64)
        };
        let loss = answers.iter().map(|answer| answer.loss).sum();
        let right = answers.iter().filter(|answer| answer.right).count();
        Self {
            right: Some(right as u64),
            rewards: [mean(0), mean(1)],
            ..Self::empty(Asked::Preferences, loss, answers.len() as u64)
        }
    }

    /// Of the labels of words, and of the entities that they mark, if any.
    ///
    /// # Errors
    /// As [`label`](Self::label).
    pub fn words(
        loss: f64,
        confusion: Confusion,
        entities: Option<BTreeMap<String, Counts>>,
    ) -> Result<Self> {
        Ok(Self {
            asked: Asked::Words,
            entities,
            ..Self::label(loss, confusion)?
        })
    }

    /// Of the labels of the words of texts, each a pair of what is there and what was said: entities only.
    pub fn of_entities<'a>(texts: &[(Vec<&'a str>, Vec<&'a str>)]) -> Self {
        let mut found = BTreeMap::new();
        for (truth, said) in texts {
            entities::count(&mut found, truth, said);
        }
        let words = texts.iter().map(|(truth, _)| truth.len() as u64).sum();
        Self {
            entities: Some(found),
            ..Self::empty(Asked::Words, 0.0, words)
        }
    }
}
