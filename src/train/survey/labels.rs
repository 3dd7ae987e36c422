//! Labels, and how unevenly they are shared out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::objectives::{Labelled, Problem};
use crate::text::classes;
use crate::train::config::StageConfig;
use crate::train::tasks::{Data, Parts};

/// The labels that a stage learns.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LabelSurvey {
    /// What they are of: texts or words.
    pub of: &'static str,
    /// The classes, in the order of their outputs; none of numbers.
    pub classes: Vec<Class>,
    /// Texts that have none, of all that could be learned from.
    pub without: u64,
    /// Texts for training to which none of several applies.
    pub none_applies: u64,
    /// How much more of the most frequent class is learned from than of the rarest.
    pub imbalance: Option<f64>,
    /// Numbers to learn.
    pub numbers: Option<Numbers>,
}

/// A class, and how many texts (or words) of each part have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// To learn from.
    pub train: u64,
    /// To choose by.
    pub validation: u64,
    /// To test on.
    pub test: u64,
}

/// Numbers to learn from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Numbers {
    /// How many there are.
    pub count: u64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation: the error of whoever always says the mean.
    pub deviation: f64,
}

/// The labels of a stage's parts; `None` where it learns none.
pub fn survey(data: &Data, stage: &StageConfig, parts: &Parts) -> Option<LabelSurvey> {
    let documents = &data.documents;
    let three = [&parts.train, &parts.validation, &parts.test];
    let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    let mut survey = LabelSurvey::default();
    let problem = stage.objective.problem();
    match stage.objective.labels() {
        Labelled::None | Labelled::OfTurns => return None,
        Labelled::OfWords => {
            survey.of = "words";
            let tagged = data.tagged.as_deref()?;
            let names = tagged.label_names();
            for (part, docs) in three.into_iter().enumerate() {
                for label in docs.iter().flat_map(|&doc| tagged.labels(doc)) {
                    counts.entry(names.get(label as usize)?).or_default()[part] += 1;
                }
            }
        }
        of @ (Labelled::OfTexts | Labelled::OfPictures) => {
            survey.of = match of {
                Labelled::OfPictures => "pictures",
                _ => "texts",
            };
            let names = documents.label_names();
            let of = |doc: u32| Some(names.get(documents.label(doc)? as usize)?.as_str());
            survey.without = documents
                .filter(|doc| data.may_have_label(doc) && of(doc).is_none())
                .len() as u64;
            if problem == Problem::Regression {
                let train = parts
                    .train
                    .iter()
                    .filter_map(|&doc| of(doc)?.trim().parse().ok());
                survey.numbers = numbers(&train.collect::<Vec<f64>>());
                return Some(survey);
            }
            for (part, docs) in three.into_iter().enumerate() {
                for label in docs.iter().filter_map(|&doc| of(doc)) {
                    let several = problem == Problem::MultiLabel;
                    let split = label.split(',').map(str::trim).filter(|l| !l.is_empty());
                    let labels = if several {
                        split.collect()
                    } else {
                        vec![label]
                    };
                    survey.none_applies += u64::from(labels.is_empty() && part == 0);
                    labels
                        .into_iter()
                        .for_each(|l| counts.entry(l).or_default()[part] += 1);
                }
            }
        }
    }
    let learned = || counts.values().map(|[train, ..]| *train).filter(|&n| n > 0);
    if let (Some(least), Some(most), true) =
        (learned().min(), learned().max(), learned().count() > 1)
    {
        survey.imbalance = Some(most as f64 / least as f64);
    }
    let class = |name: &str| {
        let [train, validation, test] = counts[name];
        Class {
            name: name.to_string(),
            train,
            validation,
            test,
        }
    };
    survey.classes = classes::sorted(counts.keys().copied())
        .into_iter()
        .map(class)
        .collect();
    Some(survey)
}

fn numbers(all: &[f64]) -> Option<Numbers> {
    let (first, count) = (*all.first()?, all.len() as f64);
    let mean = all.iter().sum::<f64>() / count;
    let squares: f64 = all.iter().map(|x| (x - mean).powi(2)).sum();
    Some(Numbers {
        count: all.len() as u64,
        least: all.iter().copied().fold(first, f64::min),
        most: all.iter().copied().fold(first, f64::max),
        mean,
        deviation: (squares / count).sqrt(),
    })
}
