//! What a classifier should say of each text, in the order of the model's outputs.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::models::{self, Config, Pretrained, ProblemType};
use crate::text::Documents;
use crate::train::config::Problem;

/// The labels of a data set as targets.
#[derive(Debug, Clone)]
pub struct Labels {
    /// What each output stands for.
    pub names: Vec<String>,
    /// What a label is.
    pub problem: Problem,
    /// For each label of the documents, one number for each output; a class has a single 1.
    targets: Vec<Vec<f32>>,
}

/// The parts of a label that names several classes.
fn parts(label: &str) -> impl Iterator<Item = &str> {
    label.split(',').map(str::trim).filter(|l| !l.is_empty())
}

impl Labels {
    /// The labels of `documents`, numbered as `known` where that has names for all of them;
    /// otherwise, unless `fixed`, in sorted order. The second answer is whether `known`'s numbers
    /// hold.
    ///
    /// # Errors
    /// [`Error::UnseenLabel`] where `fixed` and a label is not known; [`Error::MalformedRow`] for a
    /// label that should be a number and is none; [`Error::NoLabels`].
    pub fn new(
        documents: &Documents,
        problem: Problem,
        known: Option<&[String]>,
        fixed: bool,
    ) -> Result<(Labels, bool)> {
        let found = documents.label_names();
        if found.is_empty() {
            return Err(Error::NoLabels {
                what: "a classifier".into(),
                found: "none".into(),
            });
        }
        if problem == Problem::Regression {
            let number = |label: &String| {
                let number = label.trim().parse::<f32>().ok().filter(|x| x.is_finite());
                number.map(|x| vec![x]).ok_or_else(|| Error::UnseenLabel {
                    label: label.clone(),
                    place: "the data".into(),
                    known: "numbers, as problem = \"regression\" needs them".into(),
                })
            };
            let names = vec!["LABEL_0".to_string()];
            let targets = found.iter().map(number).collect::<Result<_>>()?;
            let kept = known.is_some_and(|k| k.len() == 1);
            let labels = Labels {
                names,
                problem,
                targets,
            };
            return Ok((labels, kept));
        }
        let classes: BTreeSet<&str> = match problem {
            Problem::MultiLabel => found.iter().flat_map(|label| parts(label)).collect(),
            _ => found.iter().map(String::as_str).collect(),
        };
        let generic = |names: &[String]| {
            let mut names = names.iter().enumerate();
            names.all(|(n, name)| *name == format!("LABEL_{n}"))
        };
        let unseen = |names: &[String]| {
            let unseen = classes.iter().find(|c| !names.iter().any(|n| n == *c));
            unseen.map(|c| c.to_string())
        };
        let own = || -> Vec<String> { classes.iter().map(|c| c.to_string()).collect() };
        let (names, kept) = match known {
            Some(names) if unseen(names).is_none() => (names.to_vec(), true),
            // Numbers without names: the sorted classes, as everyone numbers them.
            Some(names) if generic(names) && names.len() == classes.len() => (own(), true),
            Some(names) if fixed => {
                return Err(Error::UnseenLabel {
                    label: unseen(names).unwrap_or_default(),
                    place: "the data".into(),
                    known: names.join(", "),
                });
            }
            _ => (own(), false),
        };
        let target = |label: &String| {
            let has = |name: &String| match problem {
                Problem::MultiLabel => parts(label).any(|part| part == name),
                _ => label == name,
            };
            let hits = names.iter().map(|name| f32::from(u8::from(has(name))));
            hits.collect()
        };
        let labels = Labels {
            targets: found.iter().map(target).collect(),
            names,
            problem,
        };
        Ok((labels, kept))
    }

    /// What the model should say of a document; `None` for one without label.
    pub fn target(&self, documents: &Documents, doc: u32) -> Option<&[f32]> {
        let label = documents.label(doc)?;
        self.targets.get(label as usize).map(Vec::as_slice)
    }

    /// The class of a target with a single 1.
    pub fn class(target: &[f32]) -> u32 {
        let class = target.iter().position(|&x| x == 1.0);
        class.map_or(u32::MAX, |c| c as u32)
    }
}

/// The names that a source has for its outputs, where it has a head for labels.
pub fn known(source: Option<&Pretrained>) -> Option<Vec<String>> {
    let source = source.filter(|s| s.architecture.is_some_and(|a| a.head().has_labels()))?;
    Some(names(&*source.config))
}

/// Labels of these names, as a configuration has them.
pub fn of_config(names: &[String], problem: Problem) -> models::Labels {
    let problem = match problem {
        Problem::SingleLabel => ProblemType::SingleLabelClassification,
        Problem::MultiLabel => ProblemType::MultiLabelClassification,
        Problem::Regression => ProblemType::Regression,
    };
    models::Labels::named(names, Some(problem))
}

/// The names of a model's outputs.
pub fn names(config: &dyn Config) -> Vec<String> {
    let labels = config.labels();
    (0..labels.count()).map(|n| labels.name(n)).collect()
}
