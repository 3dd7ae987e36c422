//! What a classifier should say of each text, in the order of the model's outputs.

use std::collections::HashMap;

use super::Problem;
use super::batch::Targets;
use super::entities;
use super::evidence::{Asked, Evidence};
use super::metrics::Metric;
use super::scores::{Scores, argmax, softmax};
use crate::error::{Error, Result};
use crate::models;
use crate::text::{Documents, TaggedDocuments, classes};

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

/// Numbers in a table of labels by classes: room for 8192 classes.
const TABLE: usize = 1 << 26;

/// Refuses more classes than such tables have room for: most likely they are no classes.
fn check_size(what: &str, labels: usize, classes: usize) -> Result<()> {
    if labels.max(classes).saturating_mul(classes) <= TABLE {
        return Ok(());
    }
    Err(Error::NoLabels {
        what: what.into(),
        found: format!("{labels} labels of {classes} classes, too many to be counted by class"),
    })
}

/// The parts of a label that names several classes.
fn parts(label: &str) -> impl Iterator<Item = &str> {
    label.split(',').map(str::trim).filter(|l| !l.is_empty())
}

impl Labels {
    /// The labels of words, numbered as `known` says.
    ///
    /// # Errors
    /// [`Error::UnseenLabel`] where `fixed` and a label is not known.
    pub fn of_words(
        tagged: &TaggedDocuments,
        known: Option<&[String]>,
        fixed: bool,
    ) -> Result<(Labels, bool)> {
        let classes: Vec<&str> = tagged.label_names().iter().map(String::as_str).collect();
        let numbering = number(known, &classes, fixed)?;
        let width = numbering.names.len();
        check_size("a word classifier", classes.len(), width)?;
        let one = |&output: &usize| (0..width).map(|n| f32::from(n == output)).collect();
        let labels = Labels {
            targets: numbering.outputs.iter().map(one).collect(),
            names: numbering.names,
            problem: Problem::SingleLabel,
        };
        Ok((labels, numbering.kept))
    }

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
        let lacking = |found: &str| Error::NoLabels {
            what: "a classifier".into(),
            found: found.into(),
        };
        if found.is_empty() {
            return Err(lacking("none"));
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
            return Err(lacking("only texts to which no label applies"));
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
        check_size("a classifier", found.len(), names.len())?;
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

    /// Why these labels have no value of a metric, where that shows only by the labels.
    pub fn refuses(&self, metric: &Metric) -> Option<String> {
        let classes = self.names.len();
        let words = metric.asked == [Asked::Words];
        if words && !entities::are_marked(&self.names) {
            let found = self.names.iter().take(3).cloned().collect::<Vec<_>>();
            let found = found.join(", ");
            return Some(format!(
                "needs labels that mark entities, as B-PER, I-PER, O, and the data have {found}, …; take accuracy or macro_f1"
            ));
        }
        (metric.asked == [Asked::Label] && classes != 2).then(|| {
            format!("is of two classes, and the data have {classes}; take macro_f1, micro_f1 or weighted_f1")
        })
    }

    /// The model's number of each of the data's classes.
    pub fn numbers(&self) -> Vec<i32> {
        self.targets.iter().map(|t| class(t) as i32).collect()
    }

    /// Answers as a batch has them.
    pub(super) fn targets(&self, answers: &[Option<&[f32]>]) -> Targets {
        match self.problem {
            Problem::SingleLabel => {
                let class = |answer: &Option<&[f32]>| answer.map_or(-1, |a| class(a) as i32);
                Targets::classes(answers.iter().map(class).collect())
            }
            _ => Targets::numbers(answers, self.names.len()),
        }
    }

    /// As a configuration has them.
    pub fn of_config(&self) -> models::Labels {
        models::Labels::named(&self.names, Some(self.problem.into()))
    }
}

/// The class of a target with a single 1.
pub(super) fn class(target: &[f32]) -> usize {
    target.iter().position(|&x| x == 1.0).unwrap_or(0)
}

/// Outputs as they are shown: probabilities of classes, or numbers.
pub fn shown(problem: Problem, row: &[f32]) -> Vec<f32> {
    match problem {
        Problem::SingleLabel => softmax(row),
        Problem::MultiLabel => row.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect(),
        Problem::Regression => row.to_vec(),
    }
}

/// Scores of what a model says of labelled documents.
///
/// # Errors
/// [`Error::Metric`] where there is nothing to score.
pub fn scores(
    labels: &Labels,
    documents: &Documents,
    outputs: &[(u32, Vec<f32>)],
) -> Result<Scores> {
    let known = outputs
        .iter()
        .filter_map(|(doc, row)| Some((labels.target(documents, *doc)?, row)));
    match labels.problem {
        Problem::SingleLabel => {
            let classes = labels.names.len();
            let mut confusion = vec![vec![0u64; classes]; classes];
            let mut loss = 0.0;
            for (target, row) in known {
                let probabilities = softmax(row);
                let class = class(target);
                let (Some(counts), Some(p)) = (confusion.get_mut(class), probabilities.get(class))
                else {
                    continue;
                };
                counts[argmax(&probabilities)] += 1;
                loss -= f64::from(p.max(f32::MIN_POSITIVE)).ln();
            }
            Scores::of(Evidence::label(loss, confusion)?, &labels.names)
        }
        Problem::MultiLabel => {
            let mut loss = 0.0;
            let texts = known.map(|(target, row)| {
                let pair = |(&t, &z): (&f32, &f32)| {
                    // log(1 + e^-|z|) + max(z, 0) - z t: the stable form.
                    let wide = f64::from(z);
                    loss += (-wide.abs()).exp().ln_1p() + wide.max(0.0) - wide * f64::from(t);
                    (t > 0.5, z > 0.0)
                };
                target.iter().zip(row).map(pair).collect()
            });
            let classes = labels.names.len();
            let counted = Evidence::labels(0.0, classes, texts.collect::<Vec<_>>());
            let evidence = Evidence {
                loss: loss / classes as f64,
                ..counted
            };
            Scores::of(evidence, &labels.names)
        }
        Problem::Regression => {
            let pairs = known
                .filter_map(|(t, row)| Some((f64::from(*t.first()?), f64::from(*row.first()?))));
            Scores::of(Evidence::numbers(pairs.collect()), &[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Example;
    use crate::text::tokenizer::{Tokenizer, TokenizerOptions};

    #[test]
    fn a_column_of_names_that_all_differ_is_none_of_labels() {
        let tokenizer = Tokenizer::train_on(["a a"], &TokenizerOptions::default()).unwrap();
        let labels = |count: usize| {
            let example = |n: usize| Example {
                label: Some(format!("name {n}")),
                ..Example::from("a")
            };
            let documents = Documents::from_examples((0..count).map(example), &tokenizer)?;
            Ok(Labels::new(&documents, Problem::SingleLabel, None, false)?.0)
        };
        assert_eq!(labels(300).unwrap().names.len(), 300);
        let error: Error = labels(9000).unwrap_err();
        assert!(matches!(error, Error::NoLabels { .. }), "{error:?}");
        let error = error.to_string();
        assert!(
            error.contains("9000 classes") && error.contains("label column"),
            "{error}"
        );
    }
}
