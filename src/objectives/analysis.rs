//! What an evaluation knows beyond its scores: which texts were answered wrong.

use serde::{Deserialize, Serialize};

use super::Problem;
use super::criterion::Setup;
use super::labels::{Labels, shown};
use super::scores::argmax;
use crate::error::Result;
use crate::images::thumbnail;

/// Texts that are kept of those that were answered wrong.
const WORST: usize = 20;

/// Characters that are kept of such a text.
const TEXT: usize = 2000;

/// The answers of an evaluation, seen one by one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The most wrong answers, worst first.
    pub worst: Vec<Answer>,
}

/// A text that was answered wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text as the tokeniser gives it back; the name of a picture.
    pub text: String,
    /// The second text of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The picture, small, as the address of an `img`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
    /// What is right.
    pub truth: String,
    /// What the model said.
    pub said: String,
    /// How far it is off: what its probability of the truth lacks to 1; of words, the share that is
    /// wrong; of numbers, the difference.
    pub off: f64,
}

/// A wrong answer to a document, before its text is looked up.
#[derive(Clone)]
pub(super) struct Wrong {
    pub doc: u32,
    pub truth: String,
    pub said: String,
    pub off: f64,
}

impl Setup {
    /// The worst of wrong answers, with their texts.
    pub(super) fn worst(&self, mut wrong: Vec<Wrong>) -> Result<Vec<Answer>> {
        wrong.sort_by(|a, b| b.off.total_cmp(&a.off).then(a.doc.cmp(&b.doc)));
        wrong.truncate(WORST);
        let text = |ids: &[u32]| -> Result<String> {
            let text = self.tokenizer.decode_with(ids, false)?;
            Ok(match text.char_indices().nth(TEXT) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            })
        };
        let answer = |wrong: Wrong| {
            let (first, second) = self.documents.texts(wrong.doc);
            let pictures = self.pictures.as_ref().map(|data| &data.pictures);
            let named = pictures.map(|all| all.name(wrong.doc));
            Ok(Answer {
                text: named.map_or_else(|| text(first), |name| Ok(name.to_string()))?,
                pair: second.map(text).transpose()?,
                thumbnail: pictures.and_then(|all| thumbnail(all.get(wrong.doc))),
                truth: wrong.truth,
                said: wrong.said,
                off: wrong.off,
            })
        };
        wrong.into_iter().map(answer).collect()
    }
}

/// Outputs for labelled documents, seen one by one.
pub(super) fn of_texts(
    labels: &Labels,
    setup: &Setup,
    outputs: &[(u32, Vec<f32>)],
) -> Result<Analysis> {
    let known = outputs.iter().filter_map(|(doc, row)| {
        let target = labels.target(&setup.documents, *doc)?;
        wrong(labels, *doc, target, &shown(labels.problem, row))
    });
    Ok(Analysis {
        worst: setup.worst(known.collect())?,
    })
}

/// The answer to a document where it is wrong; numbers always are, more or less.
fn wrong(labels: &Labels, doc: u32, target: &[f32], row: &[f32]) -> Option<Wrong> {
    let off = |(t, y): (&f32, &f32)| f64::from((t - y).abs());
    let (truth, said, off) = match labels.problem {
        Problem::SingleLabel => {
            let (truth, said) = (argmax(target), argmax(row));
            let name = |class: usize| labels.names.get(class).cloned();
            let off = 1.0 - f64::from(*row.get(truth)?);
            (truth != said).then_some((name(truth)?, name(said)?, off))?
        }
        Problem::MultiLabel => {
            let names = |row: &[f32]| {
                let names = labels.names.iter().zip(row).filter(|(_, p)| **p > 0.5);
                let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
                names.join(", ")
            };
            let (truth, said) = (names(target), names(row));
            let off = target.iter().zip(row).map(off).fold(0.0, f64::max);
            (truth != said).then_some((truth, said, off))?
        }
        Problem::Regression => {
            let (t, y) = (target.first()?, row.first()?);
            (t.to_string(), format!("{y:.3}"), off((t, y)))
        }
    };
    Some(Wrong {
        doc,
        truth,
        said,
        off,
    })
}
