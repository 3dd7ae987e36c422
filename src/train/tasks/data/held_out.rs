//! What is held out of texts whose labels nothing learns from.

use super::Data;
use crate::error::{Error, Result};
use crate::objectives::{Labelled, Problem};
use crate::text::{Documents, Split, Tokenizer, classes, split};
use crate::train::config::{RunConfig, StageConfig};
use crate::train::task::Unit;

/// Tokens of a piece where text is read on from one to the next: its ends should be few.
const LONG: usize = 1024;

/// A text that is all there is, or one of few or of books, in pieces as long as the pretraining stages read
/// them.
pub(super) fn cut(documents: Documents, config: &RunConfig, tokenizer: &Tokenizer) -> Documents {
    let objectives = config.stages.iter().map(|s| &s.objective);
    let lengths = objectives
        .filter(|o| !o.needs_labels() && !o.reads_on())
        .map(|o| o.length());
    let length = lengths.max();
    documents.in_pieces(
        length.unwrap_or(LONG),
        length.is_none(),
        tokenizer.vocabulary(),
    )
}

/// What is said where numbers are learned as classes and look like amounts.
pub(super) fn amounts(config: &RunConfig, documents: &Documents) -> Option<String> {
    let as_classes = |stage: &&StageConfig| {
        let (labels, problem) = (stage.objective.labels(), stage.objective.problem());
        labels == Labelled::OfTexts && problem == Problem::SingleLabel
    };
    let stage = config.stages.iter().find(as_classes)?;
    let names = documents.label_names();
    let (count, name) = (names.len(), &stage.name);
    classes::may_be_amounts(names, documents.labelled().len()).then(|| {
        format!(
            "the labels are {count} numbers, taken for classes; if they are amounts, as stars or scores: \
             --set stage.{name}.problem=regression"
        )
    })
}

impl Data {
    /// The texts of `data.path`, whose labels mean nothing: those to train on and those to test on.
    pub(super) fn texts(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let documents = &self.documents;
        let in_part = |test: bool| {
            documents.filter(|d| match documents.split(d) {
                Some(Split::Unsup) => false,
                split => (split == Some(Split::Test)) == test,
            })
        };
        let (rest, test) = (in_part(false), in_part(true));
        if test.is_empty() && rest.len() > 1 {
            self.hold(&rest, self.test_share)
        } else {
            Ok((rest, test))
        }
    }

    /// Refuses more folds than there are examples of a class, or texts.
    pub(super) fn require_folds(&self, stage: &StageConfig, unit: &Unit) -> Result<()> {
        let (documents, by_class) = (
            &self.documents,
            stage.objective.problem() == Problem::SingleLabel,
        );
        let (least, what) = match stage.objective.labels() {
            Labelled::OfTexts | Labelled::OfPictures if by_class => {
                let counts = documents.label_counts(&documents.labelled());
                let names = documents.label_names().iter();
                let counted = counts.into_iter().zip(names);
                match counted
                    .filter(|(found, _)| *found > 0)
                    .min_by_key(|(found, _)| *found)
                {
                    Some((found, class)) => {
                        (found, format!("class '{class}' has {found} examples"))
                    }
                    None => return Ok(()),
                }
            }
            Labelled::OfTexts => {
                let found = documents.labelled().len();
                (found, format!("the data have {found} texts with labels"))
            }
            _ => (
                documents.len(),
                format!("the data have {} texts", documents.len()),
            ),
        };
        match unit.fold {
            Some((_, folds)) if folds > least && least > 1 => {
                let message = format!("is {folds}, and {what}; set it to {least} or less");
                Err(Error::value(format!("stage.{}.folds", stage.name), message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a class of the documents `all` that is too small to be in every part of a unit; `parts` are
    /// those that are to be cut off beside what is learned from.
    pub(super) fn require_enough(
        &self,
        all: &[u32],
        place: &str,
        parts: &[(&str, f64)],
    ) -> Result<()> {
        let cut: Vec<_> = parts.iter().filter(|(_, share)| *share > 0.0).collect();
        let (documents, needed) = (&self.documents, 1 + cut.len());
        let counts = documents.label_counts(all);
        let counted = documents.label_names().iter().zip(counts);
        let mut rare = counted.filter(|(_, found)| (1..needed).contains(found));
        let Some((class, found)) = rare.next() else {
            return Ok(());
        };
        let keys: Vec<String> = cut.iter().map(|(key, _)| format!("{key} = 0")).collect();
        let others = match rare.count() {
            0 => "",
            1 => "so has another class; ",
            _ => "so have other classes; ",
        };
        Err(Error::EmptyClass {
            class: class.clone(),
            place: place.into(),
            needed,
            found,
            remedy: match &self.amounts {
                Some(amounts) => format!("{others}{amounts}"),
                None => format!(
                    "{others}add examples, that every part has one, leave the class out, or do without a part: {}",
                    keys.join(" or ")
                ),
            },
        })
    }

    /// Texts to learn from and some to judge by, of every class as many where classes are learned.
    pub(super) fn hold(&self, docs: &[u32], share: f64) -> Result<(Vec<u32>, Vec<u32>)> {
        if share <= 0.0 {
            return Ok((docs.to_vec(), Vec::new()));
        }
        if self.learns {
            split::holdout(&self.documents, docs, share, self.seed)
        } else {
            split::holdout_texts(&self.documents, docs, share, self.seed)
        }
    }
}
