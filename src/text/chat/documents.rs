//! Files of conversations as numbered documents.

use std::ops::Range;

use rayon::prelude::*;

use super::encode::{Encoded, Encoder, learned_of};
use super::forms::{self, Example, Kind, Read, Row, malformed};
use crate::error::{Error, Result};
use crate::text::corpus::Source;
use crate::text::documents::{Chunks, Documents, Index, Tokens};

/// Which tokens of each document are learned.
#[derive(Debug, Default)]
pub struct ChatDocuments {
    /// Of its text and, where it is a pair, of the second one.
    learned: Vec<[Vec<Range<u32>>; 2]>,
    /// Whether its answer is good, where it is judged.
    good: Vec<bool>,
}

impl ChatDocuments {
    /// The tokens of a document that are learned, in order; of a pair those of the better answer.
    pub fn learned(&self, doc: u32) -> &[Range<u32>] {
        self.of(doc, 0)
    }

    /// The tokens of a pair's worse answer, counted from the beginning of the second text.
    pub fn rejected(&self, doc: u32) -> &[Range<u32>] {
        self.of(doc, 1)
    }

    fn of(&self, doc: u32, text: usize) -> &[Range<u32>] {
        let found = self.learned.get(doc as usize);
        found.map_or(&[], |texts| texts[text].as_slice())
    }

    /// Whether the answer of a document is a good one, where answers are judged.
    pub fn is_good(&self, doc: u32) -> bool {
        self.good.get(doc as usize).copied().unwrap_or(true)
    }

    /// How many of the first `most` tokens of a document are learned; the very first follows nothing.
    pub fn learned_of(&self, doc: u32, most: usize) -> usize {
        learned_of(self.learned(doc), most)
    }

    /// The same of a pair's second text.
    pub fn rejected_of(&self, doc: u32, most: usize) -> usize {
        learned_of(self.rejected(doc), most)
    }
}

/// What a document is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// An answer and what it answers; of a pair the better one.
    pub example: Example,
    /// The worse one of a pair.
    pub rejected: Option<Example>,
    /// Whether the answer is good, where answers are judged.
    pub good: bool,
}

impl Item {
    fn of(example: Example) -> Item {
        Item {
            example,
            rejected: None,
            good: true,
        }
    }

    /// All that it says, or both texts of a pair say.
    pub fn said(&self) -> (String, Option<String>) {
        let rejected = self.rejected.as_ref();
        (self.example.said(), rejected.map(Example::said))
    }

    fn encode(&self, encoder: &Encoder) -> Result<Result<[Encoded; 2], String>> {
        let example = encoder.encode(&self.example)?;
        let rejected = match &self.rejected {
            Some(rejected) => encoder.encode(rejected)?,
            None => Ok(Encoded::default()),
        };
        Ok(example.and_then(|example| Ok([example, rejected?])))
    }
}

/// Reads all `sources`, one after the other, as an objective does that learns from this `kind` of rows, and makes
/// tokens of them.
///
/// # Errors
/// Those of reading; [`Error::MalformedRow`] for a row that the template refuses, or of another kind;
/// [`Error::Tokenizer`].
pub fn read(
    sources: &[Source],
    kind: Kind,
    encoder: &Encoder,
) -> Result<(Documents, ChatDocuments)> {
    let (mut ids, mut chats) = (Vec::new(), ChatDocuments::default());
    let mut index = Index {
        offsets: vec![0],
        ..Index::default()
    };
    for source in sources {
        let mut add = |rows: Vec<(u64, Item)>| -> Result<()> {
            let encoded: Vec<Result<[Encoded; 2]>> = (rows.par_iter())
                .map(|(line, item)| {
                    let encoded = item.encode(encoder)?;
                    encoded.map_err(|wrong| malformed(&source.path, *line, wrong))
                })
                .collect();
            // In order, so that what is said of is the first row that is wrong.
            for ((_, item), texts) in rows.iter().zip(encoded) {
                let [text, rejected] = texts?;
                ids.extend_from_slice(&text.ids);
                index.middles.push(ids.len() as u64);
                ids.extend_from_slice(&rejected.ids);
                index.offsets.push(ids.len() as u64);
                index.labels.push(-1);
                index.splits.push(source.split);
                chats.learned.push([text.learned, rejected.learned]);
                chats.good.push(item.good);
            }
            Ok(())
        };
        let mut chunk = Chunks::default();
        let form = each(source, kind, &mut |line, item| {
            let (said, rejected) = item.said();
            let bytes = said.len() + rejected.map_or(0, |text| text.len());
            match chunk.push((line, item), bytes) {
                true => add(chunk.take()),
                false => Ok(()),
            }
        })?;
        add(chunk.take())?;
        log::info!("'{}' is read as {form}", source.path.display());
    }
    Ok((Documents::new(Tokens::Owned(ids), index, false), chats))
}

/// Gives what documents are made of to `each`. A pair is two answers to whoever learns from judged ones: a good
/// and a bad one.
///
/// # Errors
/// As [`read`].
pub fn each(
    source: &Source,
    kind: Kind,
    each: &mut dyn FnMut(u64, Item) -> Result<()>,
) -> Result<forms::Form> {
    forms::rows(source, &mut |Read { line, row }| match (kind, row) {
        (Kind::Answers, Row::Answer(example)) => each(line, Item::of(example)),
        (Kind::Pairs, Row::Pair { chosen, rejected }) => {
            let rejected = Some(rejected);
            each(
                line,
                Item {
                    rejected,
                    ..Item::of(chosen)
                },
            )
        }
        (Kind::Judged, Row::Judged { example, good }) => each(
            line,
            Item {
                good,
                ..Item::of(example)
            },
        ),
        (Kind::Judged, Row::Pair { chosen, rejected }) => {
            each(line, Item::of(chosen))?;
            each(
                line,
                Item {
                    good: false,
                    ..Item::of(rejected)
                },
            )
        }
        (_, row) => Err(refused(source, line, &row, kind)),
    })
}

fn refused(source: &Source, line: u64, row: &Row, wanted: Kind) -> Error {
    let has = match row {
        Row::Answer(_) => "one answer and no judgement of it",
        Row::Pair { .. } => "'chosen' and 'rejected': a preference",
        Row::Judged { .. } => "a 'label' that judges its answer: a preference",
    };
    let expected = match wanted {
        Kind::Answers => "one answer a row",
        Kind::Pairs => "'chosen' and 'rejected'",
        Kind::Judged => "a 'label' that is true or false, or 'chosen' and 'rejected'",
    };
    let message = format!("has {has}, of which this objective cannot learn; expected {expected}");
    malformed(&source.path, line, message)
}
