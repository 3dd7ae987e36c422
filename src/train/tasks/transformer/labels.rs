//! What a classifier should say of each text, in the order of the model's outputs.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::models::{self, Config, Pretrained, ProblemType};
use crate::text::{Documents, classes};
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

/// The classes of a data set as outputs of a model.
pub struct Numbering {
    /// Names of all outputs.
    pub names: Vec<String>,
    /// Whether they are those that the model had.
    pub kept: bool,
    /// For each class, its output.
    pub outputs: Vec<usize>,
}

impl Numbering {
    /// An output for each class.
    fn own(classes: &[&str], kept: bool) -> Numbering {
        Numbering {
            names: classes.iter().map(ToString::to_string).collect(),
            kept,
            outputs: (0..classes.len()).collect(),
        }
    }
}

/// Whether as many words as a model has outputs without names may be taken for these in order, as
/// everyone numbers the classes of a data set.
fn guessable(known: &[String], classes: &[&str]) -> bool {
    let unnamed = known.iter().all(|name| classes::is_unnamed(name));
    let words = classes.iter().all(|class| classes::number(class).is_none());
    known.len() == classes.len() && unnamed && words
}

/// The outputs of a model that does not name them as the classes in order.
fn guessed(known: &[String], classes: &[&str]) -> Numbering {
    let pairs = known.iter().zip(classes);
    let pairs: Vec<String> = pairs.map(|(n, class)| format!("{n} for {class}")).collect();
    log::warn!(
        "the model does not name its outputs; taking {} (name them under id2label in config.json \
         if this is wrong)",
        pairs.join(", ")
    );
    Numbering::own(classes, true)
}

/// Numbers `classes`, which are in order, as `known` where that has outputs for all of them;
/// otherwise, unless `fixed`, in their order.
///
/// # Errors
/// [`Error::UnseenLabel`] where `fixed` and a class is not known.
pub fn number(known: Option<&[String]>, classes: &[&str], fixed: bool) -> Result<Numbering> {
    let Some(known) = known else {
        return Ok(Numbering::own(classes, false));
    };
    match classes::places(known, classes) {
        Ok(outputs) => {
            let mut names = known.to_vec();
            for (class, output) in classes.iter().zip(&outputs) {
                if classes::is_unnamed(&names[*output]) {
                    names[*output] = class.to_string();
                }
            }
            Ok(Numbering {
                names,
                kept: true,
                outputs,
            })
        }
        Err(class) if fixed => Err(Error::UnseenLabel {
            label: class.into(),
            place: "the data".into(),
            known: known.join(", "),
        }),
        Err(_) => Ok(Numbering::own(classes, false)),
    }
}

/// The parts of a label that names several classes.
fn parts(label: &str) -> impl Iterator<Item = &str> {
    label.split(',').map(str::trim).filter(|l| !l.is_empty())
}

impl Labels {
    /// The labels of `documents`, numbered as `known` where that has outputs for all of them;
    /// otherwise, unless `fixed`, in the order of [`classes::sorted`]. The second answer is whether
    /// `known`'s numbers hold.
    ///
    /// # Errors
    /// [`Error::UnseenLabel`] where `fixed` and a label is not known; [`Error::MalformedRow`] for a
    /// label that should be a number and is none; [`Error::NoLabels`].
    pub fn new<'a>(
        documents: &'a Documents,
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
        let of = |label: &'a str| -> Vec<&'a str> {
            match problem {
                Problem::MultiLabel => parts(label).collect(),
                _ => vec![label],
            }
        };
        let classes = classes::sorted(found.iter().flat_map(|label| of(label)));
        if classes.is_empty() && known.is_none() {
            return Err(Error::NoLabels {
                what: "a classifier".into(),
                found: "only texts to which no label applies".into(),
            });
        }
        let unnamed = known.filter(|known| guessable(known, &classes));
        let Numbering {
            names,
            kept,
            outputs,
        } = match unnamed {
            Some(known) => guessed(known, &classes),
            None => number(known, &classes, fixed)?,
        };
        let output: HashMap<&str, usize> = classes.into_iter().zip(outputs).collect();
        let target = |label: &'a String| {
            let mut target = vec![0.0; names.len()];
            of(label)
                .iter()
                .for_each(|class| target[output[class]] = 1.0);
            target
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
