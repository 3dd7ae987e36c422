//! Batches of preferences, batch-major: two rows for each document.

use std::ops::Range;
use std::sync::Arc;

use super::documents::ChatDocuments;
use crate::Result;
use crate::text::batch::{IGNORE, NO_DOC, Position};
use crate::text::documents::Documents;
use crate::text::epochs::{Batches, Epochs, Maker, Plan, Shape, ordered};
use crate::text::sequences::{Frame, Rows, check_shape};
use crate::text::vocabulary::Vocabulary;

/// What the second row of a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// The worse answer of a pair. Both rows of a document stand in one batch of 2·B: the better answers, then
    /// the worse.
    Rejected,
    /// What is asked, answered as if it were the document before it: how far a model has moved on what nobody
    /// would say (KTO). These rows are a batch of B of their own.
    Mismatched,
}

/// How preferences become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreferenceOptions {
    /// B, documents of every batch.
    pub batch: usize,
    /// The tokens of the longest row.
    pub max_len: usize,
    /// What the second rows are.
    pub second: Second,
    /// Whether rows are read to their very end and a document with a longer one is left out. Otherwise the end is
    /// cut off, and the last token that is left is but a target.
    pub whole: bool,
    /// Draw the order anew for every epoch.
    pub shuffle: bool,
}

/// Two rows for each document.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferenceBatch {
    /// One batch of both, or one of each.
    pub rows: Vec<PreferenceRows>,
    /// (B) the documents; [`NO_DOC`] where there is none.
    pub docs: Vec<u32>,
    /// This batch's own position.
    pub position: Position,
}

/// Rows, and what follows each token.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferenceRows {
    /// What is read.
    pub inputs: Rows,
    /// The token after each, -1 where there is none.
    pub next: Vec<i32>,
    /// Whether that is part of an answer.
    pub answers: Vec<bool>,
}

impl PreferenceRows {
    fn empty(rows: usize, time: usize, frame: Frame) -> PreferenceRows {
        PreferenceRows {
            inputs: Rows::empty(rows, time, frame),
            next: vec![IGNORE; rows * time],
            answers: vec![false; rows * time],
        }
    }

    /// The targets of the answers alone.
    pub fn targets(&self) -> Vec<i32> {
        let each = self.next.iter().zip(&self.answers);
        each.map(|(next, answers)| if *answers { *next } else { IGNORE })
            .collect()
    }

    /// How many targets each row has in its answers.
    pub fn counts(&self) -> Vec<usize> {
        let rows = self.answers.chunks(self.inputs.time);
        rows.map(|row| row.iter().filter(|answers| **answers).count())
            .collect()
    }
}

/// An endless stream of preferences.
pub type PreferenceBatches = Batches<Preferences>;

/// Makes batches of preferences.
pub struct Preferences {
    documents: Arc<Documents>,
    chats: Arc<ChatDocuments>,
    options: PreferenceOptions,
    frame: Frame,
    /// The documents in order, each after the one whose answer it is given.
    order: Vec<u32>,
}

/// A row before it is written.
struct Row<'a> {
    parts: [&'a [u32]; 2],
    answers: Vec<Range<usize>>,
}

impl Row<'_> {
    fn len(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }
}

/// Whether something of both answers of a document is left within `max_len` tokens; with `whole`, all of it.
pub fn is_left(
    documents: &Documents,
    chats: &ChatDocuments,
    doc: u32,
    options: &PreferenceOptions,
) -> bool {
    let (text, rejected) = documents.texts(doc);
    let most = options.max_len;
    let pair = options.second == Second::Rejected;
    if options.whole {
        let fits = |text: &[u32]| !text.is_empty() && text.len() <= most;
        return fits(text) && (!pair || rejected.is_some_and(fits));
    }
    chats.learned_of(doc, most) > 0 && (!pair || chats.rejected_of(doc, most) > 0)
}

impl PreferenceBatches {
    /// A stream over the documents `which`; those of which nothing is left to learn are passed over.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a zero batch or a length below 5; [`crate::Error::Tokenizer`] where no
    /// token can fill rows; [`crate::Error::EmptyText`] where nothing is left to learn at all.
    pub fn new(
        documents: Arc<Documents>,
        chats: Arc<ChatDocuments>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: PreferenceOptions,
        seed: u64,
    ) -> Result<Self> {
        check_shape("batches of preferences", options.batch, options.max_len)?;
        let roles = vocabulary.roles();
        let pad = match roles.pad {
            Some(pad) => pad,
            None => vocabulary.need("eos_token", "padding")?,
        };
        let which = which.iter().copied();
        let left = which.filter(|&doc| is_left(&documents, &chats, doc, &options));
        let order = ordered(left, "what is left of the preferences at this max_len")?;
        let most = options.max_len - usize::from(!options.whole);
        let shape = Shape::new(options.batch, most, true, options.shuffle);
        let maker = Preferences {
            documents,
            chats,
            options,
            frame: Frame::none(pad),
            order,
        };
        let lengths = maker.order.iter().map(|&doc| {
            let rows = maker.rows(doc);
            rows.iter().map(|row| maker.read(row)).max().unwrap_or(0)
        });
        let lengths = lengths.collect();
        Ok(Batches {
            epochs: Epochs::new(maker.order.clone(), lengths, shape, seed),
            maker,
        })
    }

    /// Tokens that are read in an epoch.
    pub fn tokens_per_epoch(&self) -> u64 {
        let own = &self.maker;
        let of = |&doc: &u32| own.rows(doc).iter().map(|row| own.read(row)).sum::<usize>();
        own.order.iter().map(|doc| of(doc) as u64).sum()
    }
}

impl Preferences {
    /// How many tokens of a row are read.
    fn read(&self, row: &Row) -> usize {
        match self.options.whole {
            true => row.len(),
            false => row.len().min(self.options.max_len) - 1,
        }
    }

    fn rows(&self, doc: u32) -> [Row<'_>; 2] {
        let ranges = |ranges: &[Range<u32>]| -> Vec<Range<usize>> {
            let each = ranges.iter();
            each.map(|range| range.start as usize..range.end as usize)
                .collect()
        };
        let (text, rejected) = self.documents.texts(doc);
        let own = Row {
            parts: [text, &[]],
            answers: ranges(self.chats.learned(doc)),
        };
        let second = match self.options.second {
            Second::Rejected => Row {
                parts: [rejected.unwrap_or_default(), &[]],
                answers: ranges(self.chats.rejected(doc)),
            },
            Second::Mismatched => {
                let at = self.order.partition_point(|&other| other < doc);
                let before = at.checked_sub(1).unwrap_or(self.order.len() - 1);
                let other = self.order[before];
                let begin = |doc| self.chats.learned(doc).first().map_or(0, |r| r.start);
                let (asked, from) = (begin(doc), begin(other));
                let answers = self.chats.learned(other).iter();
                let moved = |at: u32| (at - from + asked) as usize;
                Row {
                    parts: [
                        &text[..asked as usize],
                        &self.documents.texts(other).0[from as usize..],
                    ],
                    answers: answers
                        .map(|range| moved(range.start)..moved(range.end))
                        .collect(),
                }
            }
        };
        [own, second]
    }

    fn write(&self, to: &mut PreferenceRows, at: usize, row: &Row) {
        let ids: Vec<u32> = row.parts.concat();
        let read = self.read(row);
        to.inputs
            .write(at, self.frame, [(&ids[..read], false)], &mut |_, _| ());
        let first = at * to.inputs.time;
        let kept = ids.len().min(self.options.max_len);
        for (place, id) in ids.iter().enumerate().take(kept).skip(1) {
            to.next[first + place - 1] = *id as i32;
        }
        for range in &row.answers {
            for place in range.start.max(1)..range.end.min(kept) {
                to.answers[first + place - 1] = true;
            }
        }
    }
}

impl Maker for Preferences {
    type Batch = PreferenceBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> PreferenceBatch {
        let batch = self.options.batch;
        let empty = |rows| PreferenceRows::empty(rows, plan.time, self.frame);
        let mut rows = match self.options.second {
            Second::Rejected => vec![empty(2 * batch)],
            Second::Mismatched => vec![empty(batch), empty(batch)],
        };
        let mut docs = vec![NO_DOC; batch];
        for (b, &doc) in plan.items.iter().enumerate() {
            docs[b] = doc;
            let [first, second] = self.rows(doc);
            self.write(&mut rows[0], b, &first);
            match &mut rows[..] {
                [both] => self.write(both, batch + b, &second),
                [_, others, ..] => self.write(others, b, &second),
                [] => (),
            }
        }
        let indexed = |part: PreferenceRows| PreferenceRows {
            inputs: part.inputs.indexed(),
            ..part
        };
        PreferenceBatch {
            rows: rows.into_iter().map(indexed).collect(),
            docs,
            position,
        }
    }
}
