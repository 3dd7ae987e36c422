//! Batches for fine-tuning, batch-major: texts or pairs of texts with a label each, and texts
//! with a label on every word.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::{IGNORE, NO_DOC, Position};
use super::bucket::Keep;
use super::classes;
use super::documents::Documents;
use super::epochs::{Batches, Epochs, Maker, Plan, Shape, ordered};
use super::sequences::{Frame, Rows, check_shape};
use super::tokenizer::Tokenizer;
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// How labelled texts become rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledOptions {
    /// B, rows of every batch.
    pub batch: usize,
    /// Longest length, special tokens included; longer texts are cut.
    pub max_len: usize,
    /// Which end of a single text that is too long is kept. Of a pair the longer text is cut at
    /// its end, as transformers does (`longest_first`).
    pub keep: Keep,
    /// Pad to one of a few lengths, or, where nothing is shuffled, sort by length and pad as little as can be;
    /// otherwise every batch is `max_len` long.
    pub buckets: bool,
    /// Draw the order anew for every epoch.
    pub shuffle: bool,
}

impl LabelledOptions {
    fn shape(&self) -> Shape {
        match (self.buckets, self.shuffle) {
            (true, false) => Shape::sorted(self.batch, self.max_len),
            _ => Shape::new(self.batch, self.max_len, self.buckets, self.shuffle),
        }
    }

    /// How many tokens are read of a document's text and of its second one, which has a row to
    /// themselves.
    pub fn read(&self, documents: &Documents, doc: u32, frame: Frame) -> [usize; 2] {
        let (first, second) = cut(documents, doc, frame, self);
        [first.len(), second.map_or(0, <[u32]>::len)]
    }
}

/// A batch of labelled texts or pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledBatch {
    /// The inputs.
    pub inputs: Rows,
    /// (B) classes; [`IGNORE`] for an unlabelled text and a row without one.
    pub labels: Vec<i32>,
    /// (B) numbers of the documents; [`NO_DOC`] for a row without one.
    pub docs: Vec<u32>,
    /// This batch's own position.
    pub position: Position,
}

/// An endless stream of [`LabelledBatch`]es.
pub type LabelledBatches = Batches<Labelled>;

/// Makes batches of labelled texts or pairs.
pub struct Labelled {
    documents: Arc<Documents>,
    options: LabelledOptions,
    frame: Frame,
}

impl LabelledBatches {
    /// A stream over the documents `which`, framed as [`Frame::of`] the vocabulary says.
    ///
    /// # Errors
    /// [`Error::Argument`] for a zero batch or a length below 5; [`Error::Tokenizer`] when the
    /// vocabulary cannot pad; [`Error::EmptyText`] when there is no document.
    pub fn new(
        documents: Arc<Documents>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: LabelledOptions,
        seed: u64,
    ) -> Result<Self> {
        const OP: &str = "labelled batches";
        check_shape(OP, options.batch, options.max_len)?;
        let frame = Frame::of(vocabulary)?;
        frame.check(OP, options.max_len)?;
        let which = ordered(which.iter().copied(), "the documents to make batches of")?;
        let length = |&doc: &u32| {
            let (first, second) = cut(&documents, doc, frame, &options);
            match second {
                None => frame.overhead(1) + first.len(),
                Some(second) => frame.pair_overhead() + first.len() + second.len(),
            }
        };
        let lengths = which.iter().map(length).collect();
        Ok(Batches {
            epochs: Epochs::new(which, lengths, options.shape(), seed),
            maker: Labelled {
                documents,
                options,
                frame,
            },
        })
    }
}

impl Maker for Labelled {
    type Batch = LabelledBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> LabelledBatch {
        let batch = self.options.batch;
        let mut inputs = Rows::empty(batch, plan.time, self.frame);
        let (mut labels, mut docs) = (vec![IGNORE; batch], vec![NO_DOC; batch]);
        for (b, &doc) in plan.items.iter().enumerate() {
            let (first, second) = cut(&self.documents, doc, self.frame, &self.options);
            let second = second.map(|ids| (ids, true));
            let texts = [(first, false)].into_iter().chain(second);
            inputs.write(b, self.frame, texts, &mut |_, _| ());
            labels[b] = self.documents.label(doc).map_or(IGNORE, |l| l as i32);
            docs[b] = doc;
        }
        LabelledBatch {
            inputs: inputs.indexed(),
            labels,
            docs,
            position,
        }
    }
}

/// The texts of a document, cut so that they fit.
fn cut<'a>(
    documents: &'a Documents,
    doc: u32,
    frame: Frame,
    options: &LabelledOptions,
) -> (&'a [u32], Option<&'a [u32]>) {
    let (first, second) = documents.texts(doc);
    match second {
        None => {
            let length = options.max_len - frame.overhead(1);
            (options.keep.of(first, length), None)
        }
        Some(second) => {
            let room = options.max_len - frame.pair_overhead();
            let (m, n) = longest_first(first.len(), second.len(), room);
            (&first[..m], Some(&second[..n]))
        }
    }
}

/// Lengths of two texts after taking tokens from the longer one until they fit, as Hugging Face
/// tokenizers does it.
fn longest_first(m: usize, n: usize, room: usize) -> (usize, usize) {
    if m + n <= room {
        return (m, n);
    }
    let short = m.min(n).min(room / 2);
    let long = room - short;
    if m <= n { (short, long) } else { (long, short) }
}

/// A text whose words have labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedText {
    /// The words.
    pub words: Vec<String>,
    /// The label of each.
    pub tags: Vec<String>,
}

/// Tokenised texts with a label on every word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedDocuments {
    texts: Vec<Vec<(u32, i32)>>,
    names: Vec<String>,
}

impl TaggedDocuments {
    /// Tokenises word by word. A word's first token has its label, all others [`IGNORE`]. Labels
    /// are numbered in the order of [`classes::sorted`].
    ///
    /// # Errors
    /// [`Error::Tokenizer`]; [`Error::Argument`] when a text has not one tag a word.
    pub fn new(texts: &[TaggedText], tokenizer: &Tokenizer) -> Result<Self> {
        let names = classes::sorted(texts.iter().flat_map(|text| &text.tags));
        let numbers: HashMap<&String, i32> = names.iter().copied().zip(0..).collect();
        let mut all = Vec::with_capacity(texts.len());
        for (number, TaggedText { words, tags }) in texts.iter().enumerate() {
            if words.len() != tags.len() {
                let value = format!("{} of text {number}", tags.len());
                let expected = "one for each of its words";
                return Err(Error::argument("tagged documents", "tags", value, expected));
            }
            let mut tokens = Vec::new();
            for (place, (word, tag)) in words.iter().zip(tags).enumerate() {
                let labels = [numbers[tag]].into_iter().chain(std::iter::repeat(IGNORE));
                tokens.extend(
                    tokenizer
                        .encode_word(word, place == 0)?
                        .into_iter()
                        .zip(labels),
                );
            }
            all.push(tokens);
        }
        let names = names.into_iter().cloned().collect();
        Ok(Self { texts: all, names })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Names of the labels, in the order of [`classes::sorted`]; a label's id is its place here.
    pub fn label_names(&self) -> &[String] {
        &self.names
    }

    /// The labels of a text's words.
    pub fn labels(&self, doc: u32) -> impl Iterator<Item = u32> + '_ {
        let tokens = self.texts.get(doc as usize).into_iter().flatten();
        tokens.filter_map(|(_, label)| u32::try_from(*label).ok())
    }

    /// Tokens of a text and labels of its words: all, and those that a row has room for.
    pub fn read(&self, doc: u32, options: &LabelledOptions, frame: Frame) -> [[usize; 2]; 2] {
        let all = self.texts.get(doc as usize).map_or(&[][..], Vec::as_slice);
        let kept = options.keep.of(all, options.max_len - frame.overhead(1));
        let labelled = |tokens: &[(u32, i32)]| tokens.iter().filter(|t| t.1 != IGNORE).count();
        [all, kept].map(|tokens| [tokens.len(), labelled(tokens)])
    }
}

/// A batch of texts with a label on every word.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedBatch {
    /// The inputs.
    pub inputs: Rows,
    /// (B, T) labels: at each word's first token; [`IGNORE`] everywhere else.
    pub labels: Vec<i32>,
    /// (B) numbers of the texts; [`NO_DOC`] for a row without one.
    pub docs: Vec<u32>,
    /// This batch's own position.
    pub position: Position,
}

/// An endless stream of [`TaggedBatch`]es.
pub type TaggedBatches = Batches<Tagged>;

/// Makes batches of texts with a label on every word.
pub struct Tagged {
    documents: Arc<TaggedDocuments>,
    options: LabelledOptions,
    frame: Frame,
}

impl TaggedBatches {
    /// A stream over the texts `which`.
    ///
    /// # Errors
    /// Those of [`LabelledBatches::new`].
    pub fn new(
        documents: Arc<TaggedDocuments>,
        which: &[u32],
        vocabulary: &Vocabulary,
        options: LabelledOptions,
        seed: u64,
    ) -> Result<Self> {
        check_shape("tagged batches", options.batch, options.max_len)?;
        let frame = Frame::of(vocabulary)?;
        let known = which.iter().copied();
        let known = known.filter(|&doc| (doc as usize) < documents.len());
        let which = ordered(known, "the texts to make batches of")?;
        let length = |&doc: &u32| {
            (documents.texts[doc as usize].len() + frame.overhead(1)).min(options.max_len)
        };
        let lengths = which.iter().map(length).collect();
        Ok(Batches {
            epochs: Epochs::new(which, lengths, options.shape(), seed),
            maker: Tagged {
                documents,
                options,
                frame,
            },
        })
    }
}

impl Maker for Tagged {
    type Batch = TaggedBatch;

    fn make(&self, plan: &Plan, position: Position, _: f64) -> TaggedBatch {
        let batch = self.options.batch;
        let mut inputs = Rows::empty(batch, plan.time, self.frame);
        let (mut labels, mut docs) = (vec![IGNORE; batch * plan.time], vec![NO_DOC; batch]);
        let most = self.options.max_len - self.frame.overhead(1);
        for (b, &doc) in plan.items.iter().enumerate() {
            let text = &self.documents.texts[doc as usize];
            let text = self.options.keep.of(text, most);
            let (ids, tags): (Vec<u32>, Vec<i32>) = text.iter().copied().unzip();
            inputs.write(b, self.frame, [(&ids[..], false)], &mut |_, start| {
                let from = b * plan.time + start;
                labels[from..from + tags.len()].copy_from_slice(&tags);
            });
            docs[b] = doc;
        }
        TaggedBatch {
            inputs: inputs.indexed(),
            labels,
            docs,
            position,
        }
    }
}
