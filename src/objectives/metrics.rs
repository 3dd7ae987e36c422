//! The metrics: by one of them a stage's best checkpoint is chosen. One row of [`METRICS`] each.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::Serializer;

use super::evidence::{Asked, Counts, Evidence};
use super::measures;

/// A metric.
pub struct Metric {
    /// Its name in run files and results.
    pub name: &'static str,
    /// As its users call it, with its unit.
    pub title: &'static str,
    /// Its name on the Hugging Face Hub.
    pub hub: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// How it is shown.
    pub form: Form,
    /// What it can be asked of.
    pub asked: &'static [Asked],
    /// Its value; `None` where it has none: a correlation of what does not vary.
    pub of: fn(&Evidence) -> Option<f64>,
}

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A share, of 100.
    Percent,
    /// As it is.
    Plain,
    /// As it is, on a scale of powers.
    Ratio,
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const LABELLED: &[Asked] = &[Asked::Label, Asked::Labels, Asked::Words];
const ONE_EACH: &[Asked] = &[Asked::Label, Asked::Words];
const NUMBERS: &[Asked] = &[Asked::Number];
const WORDS: &[Asked] = &[Asked::Words];
const LANGUAGE: &[Asked] = &[Asked::Tokens, Asked::MaskedTokens];
const RIGHT_OR_WRONG: &[Asked] = &[
    Asked::Label,
    Asked::Labels,
    Asked::Words,
    Asked::MaskedTokens,
];
const PREFERENCES: &[Asked] = &[Asked::Preferences];
const ALL: &[Asked] = &[
    Asked::Tokens,
    Asked::MaskedTokens,
    Asked::Label,
    Asked::Labels,
    Asked::Number,
    Asked::Words,
    Asked::Preferences,
];

/// All metrics, in the order in which they are listed.
pub static METRICS: &[Metric] = &[
    metric("error", "error %", "error", RIGHT_OR_WRONG, |e| {
        share(e.answers - e.right?.min(e.answers), e.answers)
    })
    .lower()
    .percent(),
    metric("accuracy", "accuracy %", "accuracy", RIGHT_OR_WRONG, |e| {
        share(e.right?, e.answers)
    })
    .percent(),
    metric(
        "balanced_accuracy",
        "balanced accuracy %",
        "balanced_accuracy",
        ONE_EACH,
        |e| {
            let there = e.classes.iter().filter(|c| c.there > 0);
            let recalls: Vec<f64> = there.map(Counts::recall).collect();
            mean(&recalls)
        },
    )
    .percent(),
    // Of the second of two classes, as GLUE has it.
    metric("f1", "F1", "f1", &[Asked::Label], |e| match e.classes[..] {
        [_, second] => Some(second.f1()),
        _ => None,
    }),
    metric("macro_f1", "macro F1", "f1", LABELLED, |e| {
        mean(&e.classes.iter().map(Counts::f1).collect::<Vec<_>>())
    }),
    metric("micro_f1", "micro F1", "f1", LABELLED, |e| {
        (!e.classes.is_empty()).then(|| Counts::sum(&e.classes).f1())
    }),
    metric("weighted_f1", "weighted F1", "f1", LABELLED, |e| {
        let all = Counts::sum(&e.classes).there.max(1) as f64;
        let part = |c: &Counts| c.there as f64 * c.f1();
        (!e.classes.is_empty()).then(|| e.classes.iter().map(part).sum::<f64>() / all)
    }),
    metric(
        "mcc",
        "Matthews' correlation",
        "matthews_correlation",
        ONE_EACH,
        |e| (!e.confusion.is_empty()).then(|| measures::mcc(&e.confusion)),
    ),
    metric("entity_f1", "entity F1", "f1", WORDS, |e| {
        Some(entities(e)?.f1())
    }),
    metric(
        "entity_precision",
        "entity precision",
        "precision",
        WORDS,
        |e| Some(entities(e)?.precision()),
    ),
    metric("entity_recall", "entity recall", "recall", WORDS, |e| {
        Some(entities(e)?.recall())
    }),
    metric(
        "spearman",
        "Spearman's correlation",
        "spearmanr",
        NUMBERS,
        |e| measures::spearman(&e.numbers),
    ),
    metric(
        "pearson",
        "Pearson's correlation",
        "pearsonr",
        NUMBERS,
        |e| measures::pearson(&e.numbers),
    ),
    metric("mse", "squared error", "mse", NUMBERS, |e| {
        measures::mse(&e.numbers)
    })
    .lower(),
    metric("mae", "absolute error", "mae", NUMBERS, |e| {
        measures::mae(&e.numbers)
    })
    .lower(),
    metric("r2", "R²", "r_squared", NUMBERS, |e| {
        measures::r2(&e.numbers)
    }),
    Metric {
        form: Form::Ratio,
        ..metric("perplexity", "perplexity", "perplexity", LANGUAGE, |e| {
            Some((e.loss / e.answers as f64).exp())
        })
        .lower()
    },
    metric(
        "next_sentence",
        "next sentence %",
        "accuracy",
        &[Asked::MaskedTokens],
        |e| e.next_sentence.and_then(|[right, all]| share(right, all)),
    )
    .percent(),
    metric(
        "reward_accuracy",
        "reward accuracy %",
        "accuracy",
        PREFERENCES,
        |e| {
            let judged = e.rewards.iter().any(Option::is_some);
            share(e.right.filter(|_| judged)?, e.answers)
        },
    )
    .percent(),
    metric(
        "reward_margin",
        "reward margin",
        "reward_margin",
        PREFERENCES,
        |e| Some(e.rewards[0]? - e.rewards[1]?),
    ),
    metric(
        "reward_chosen",
        "chosen reward",
        "reward_chosen",
        PREFERENCES,
        |e| e.rewards[0],
    ),
    metric(
        "reward_rejected",
        "rejected reward",
        "reward_rejected",
        PREFERENCES,
        |e| e.rewards[1],
    )
    .lower(),
    metric("loss", "loss", "loss", ALL, |e| {
        Some(e.loss / e.answers as f64)
    })
    .lower(),
];

const fn metric(
    name: &'static str,
    title: &'static str,
    hub: &'static str,
    asked: &'static [Asked],
    of: fn(&Evidence) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        title,
        hub,
        higher_is_better: true,
        form: Form::Plain,
        asked,
        of,
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn entities(evidence: &Evidence) -> Option<Counts> {
    Some(Counts::sum(evidence.entities.as_ref()?.values()))
}

impl Metric {
    const fn lower(self) -> Self {
        Self {
            higher_is_better: false,
            ..self
        }
    }

    const fn percent(self) -> Self {
        Self {
            form: Form::Percent,
            ..self
        }
    }

    /// A value in the unit of the title.
    pub fn in_unit(&self, value: f64) -> f64 {
        match self.form {
            Form::Percent => 100.0 * value,
            Form::Plain | Form::Ratio => value,
        }
    }

    /// A value with as many digits as it deserves, in the unit of the title.
    pub fn shown(&self, value: f64) -> String {
        let digits = match self.form {
            Form::Percent | Form::Ratio => 2,
            Form::Plain => 3,
        };
        format!("{:.digits$}", self.in_unit(value))
    }
}

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The names of what can be asked of such answers.
pub fn fitting(asked: Asked) -> Vec<&'static str> {
    let fit = METRICS.iter().filter(|m| m.asked.contains(&asked));
    fit.map(|m| m.name).collect()
}

/// The metrics that are told of such answers, the one that chooses first where the stage names none.
pub fn usual(asked: Asked, entities: bool) -> &'static [&'static str] {
    match asked {
        Asked::Tokens => &["perplexity"],
        Asked::MaskedTokens => &["perplexity", "accuracy", "next_sentence"],
        Asked::Label => &["error", "macro_f1"],
        Asked::Labels => &["micro_f1", "accuracy"],
        Asked::Number => &["spearman", "pearson", "mse"],
        Asked::Words if entities => &["entity_f1", "error"],
        Asked::Words => &["accuracy", "macro_f1"],
        Asked::Preferences => &[
            "reward_accuracy",
            "reward_margin",
            "reward_chosen",
            "reward_rejected",
        ],
    }
}

/// A metric by its name, for serde.
pub mod by_name {
    use super::*;

    const NAMES: [&str; METRICS_LEN] = names();
    const METRICS_LEN: usize = METRICS.len();

    const fn names() -> [&'static str; METRICS_LEN] {
        let (mut names, mut at) = ([""; METRICS_LEN], 0);
        while at < METRICS_LEN {
            names[at] = METRICS[at].name;
            at += 1;
        }
        names
    }

    /// Writes the name.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        metric: &Option<&'static Metric>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match metric {
            Some(metric) => to.serialize_some(metric.name),
            None => to.serialize_none(),
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// One that no metric has.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<&'static Metric>, D::Error> {
        let Some(name) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        let unknown = || D::Error::unknown_variant(&name, &NAMES);
        find(&name).map(Some).ok_or_else(unknown)
    }
}
