//! Tokenised documents: ids, labels and parts of a corpus, in memory or mapped from the cache.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use rayon::prelude::*;

use super::cache;
use super::classes;
use super::corpus::{self, Example, Sink, Source, Split};
use super::tokenizer::Tokenizer;
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// Collects items until they are many or large enough to be worth a parallel pass.
pub(super) struct Chunks<T> {
    items: Vec<T>,
    bytes: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
        }
    }
}

impl<T> Chunks<T> {
    const ITEMS: usize = 8192;
    const BYTES: usize = 8 << 20;

    /// True when the chunk is full and must be taken.
    pub(super) fn push(&mut self, item: T, bytes: usize) -> bool {
        self.items.push(item);
        self.bytes += bytes;
        self.items.len() >= Self::ITEMS || self.bytes >= Self::BYTES
    }

    pub(super) fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}

/// Everything about documents but their tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    /// Document `i` is tokens `offsets[i]..offsets[i + 1]`.
    pub(super) offsets: Vec<u64>,
    /// Where the second text of document `i` begins: at its end when it has none.
    pub(super) middles: Vec<u64>,
    /// -1: unlabelled.
    pub(super) labels: Vec<i32>,
    pub(super) splits: Vec<Option<Split>>,
    /// In the order of [`classes::sorted`].
    pub(super) label_names: Vec<String>,
    /// One bit a token: it continues the word before it. Empty when the ids tell.
    pub(super) continues: Vec<u64>,
}

/// One example's tokens.
#[derive(Default)]
struct Encoded {
    ids: Vec<u32>,
    /// Where the second text begins.
    middle: usize,
    continues: Vec<bool>,
}

impl Encoded {
    fn new(tokenizer: &Tokenizer, example: &Example) -> Result<Self> {
        let mut encoded = Self::default();
        tokenizer.encode_into(&example.text, &mut encoded.ids, &mut encoded.continues)?;
        encoded.middle = encoded.ids.len();
        if let Some(pair) = &example.pair {
            tokenizer.encode_into(pair, &mut encoded.ids, &mut encoded.continues)?;
        }
        Ok(encoded)
    }
}

/// Runs `read`, tokenises what it yields in parallel and in bounded chunks, gives the ids to
/// `write` in order.
pub(super) fn tokenise_into(
    tokenizer: &Tokenizer,
    read: impl FnOnce(&mut Sink) -> Result<()>,
    write: &mut dyn FnMut(&[u32]) -> Result<()>,
) -> Result<Index> {
    let mut index = Index {
        offsets: vec![0],
        ..Index::default()
    };
    let mut names: HashMap<String, i32> = HashMap::new();
    let mut chunk = Chunks::<Example>::default();
    let mut drain = |examples: Vec<Example>| -> Result<()> {
        let encoded: Vec<Encoded> = examples
            .par_iter()
            .map(|example| Encoded::new(tokenizer, example))
            .collect::<Result<_>>()?;
        for (example, encoded) in examples.into_iter().zip(encoded) {
            write(&encoded.ids)?;
            let start = index.offsets.last().copied().unwrap_or(0);
            index.offsets.push(start + encoded.ids.len() as u64);
            index.middles.push(start + encoded.middle as u64);
            for (token, continues) in (start as usize..).zip(encoded.continues) {
                index.continues.resize(token / 64 + 1, 0);
                index.continues[token / 64] |= u64::from(continues) << (token % 64);
            }
            let next = names.len() as i32;
            let label = example
                .label
                .map_or(-1, |name| *names.entry(name).or_insert(next));
            index.labels.push(label);
            index.splits.push(example.split);
        }
        Ok(())
    };
    read(&mut |example| {
        let bytes = example.text.len() + example.pair.as_ref().map_or(0, String::len);
        if chunk.push(example, bytes) {
            drain(chunk.take())
        } else {
            Ok(())
        }
    })?;
    drain(chunk.take())?;
    sort_labels(&mut index, names);
    Ok(index)
}

/// Class ids follow the sorted names, whatever came first in the files.
fn sort_labels(index: &mut Index, names: HashMap<String, i32>) {
    let sorted = classes::sorted(names.keys().cloned());
    let mut rank = vec![0; sorted.len()];
    for (new, name) in (0..).zip(&sorted) {
        rank[names[name] as usize] = new;
    }
    for label in index.labels.iter_mut().filter(|label| **label >= 0) {
        *label = rank[*label as usize];
    }
    index.label_names = sorted;
}

/// The tokens: `u32` ids of all documents, one after the other.
#[derive(Debug)]
pub(super) enum Tokens {
    Owned(Vec<u32>),
    /// `count` ids from byte `start` of a mapped cache file.
    Mapped {
        map: Mmap,
        start: usize,
        count: usize,
    },
}

impl Tokens {
    fn ids(&self) -> &[u32] {
        match self {
            Tokens::Owned(ids) => ids,
            // The cache checked range and alignment when it opened the file.
            Tokens::Mapped { map, start, count } => {
                bytemuck::cast_slice(&map[*start..*start + 4 * *count])
            }
        }
    }
}

/// A tokenised corpus. Documents are numbered from 0, in the order of their files.
#[derive(Debug)]
pub struct Documents {
    tokens: Tokens,
    index: Index,
    from_cache: bool,
    /// The documents that are pieces of one text, in its order.
    pieces: Vec<Range<u32>>,
}

/// Tokens of a text that is worth cutting; of a piece, at least; and the pieces that are made of it
/// where it has the tokens: enough to hold out a twentieth.
const WORTH_CUTTING: usize = 32;
const LEAST_PIECE: usize = 8;
const PIECES: usize = 20;
/// How often what is read of a text goes into the mean text, where all are books.
const BOOK: usize = 16;

impl Documents {
    pub(super) fn new(tokens: Tokens, index: Index, from_cache: bool) -> Self {
        Self {
            tokens,
            index,
            from_cache,
            pieces: Vec::new(),
        }
    }

    /// The same tokens, where the long texts of a part of the data that has few (one book, a shelf of
    /// them) become documents of some `length` tokens: their ends can then be held out, and what reads the
    /// beginning of every text reads all of it. Where texts are not read `on` from one to the next, books are
    /// cut however many they are.
    pub fn in_pieces(mut self, length: usize, on: bool, vocabulary: &Vocabulary) -> Self {
        let parts: HashMap<Option<Split>, (usize, usize)> =
            (0..self.len() as u32).fold(HashMap::new(), |mut parts, doc| {
                let (texts, tokens) = parts.entry(self.split(doc)).or_default();
                (*texts, *tokens) = (*texts + 1, *tokens + self.ids(doc).len());
                parts
            });
        let whole = |doc: u32| {
            let split = self.split(doc);
            let text = self.label(doc).is_none() && self.texts(doc).1.is_none();
            let trains = !matches!(split, Some(Split::Validation | Split::Test));
            let tokens = self.ids(doc).len();
            let (texts, all) = parts.get(&split).copied().unwrap_or_default();
            let few = texts < PIECES && tokens >= 2 * length;
            let books = !on && tokens >= 2 * length && all / texts.max(1) >= BOOK * length;
            text && trains && tokens >= WORTH_CUTTING && (texts == 1 || few || books)
        };
        let cut: Vec<u32> = self.filter(whole);
        if cut.is_empty() {
            return self;
        }
        let mut index = Index {
            offsets: vec![0],
            ..Index::default()
        };
        let mut pieces = Vec::new();
        for doc in 0..self.len() as u32 {
            let at = doc as usize;
            let (start, end) = (self.index.offsets[at], self.index.offsets[at + 1]);
            let first = index.labels.len() as u32;
            if cut.contains(&doc) {
                let tokens = (end - start) as usize;
                let count = (tokens / length.max(1)).max(PIECES.min(tokens / LEAST_PIECE));
                let cuts = (1..count).map(|n| self.word_at(doc, tokens * n / count, vocabulary));
                let mut cuts: Vec<usize> = cuts.filter(|&at| at < tokens).collect();
                cuts.dedup();
                index
                    .offsets
                    .extend(cuts.iter().map(|&at| start + at as u64));
            }
            index.offsets.push(end);
            let last = index.offsets.len() as u32 - 1;
            let of = last - first;
            if of > 1 {
                pieces.push(first..last);
            }
            let ends = index.offsets[first as usize + 1..].to_vec();
            index.middles.extend(ends);
            if of == 1 {
                index.middles[first as usize] = self.index.middles[at];
            }
            let same = of as usize;
            index.labels.extend(vec![self.index.labels[at]; same]);
            index.splits.extend(vec![self.index.splits[at]; same]);
        }
        index.label_names = std::mem::take(&mut self.index.label_names);
        index.continues = std::mem::take(&mut self.index.continues);
        Self {
            index,
            pieces,
            ..self
        }
    }

    /// The first token of document `doc` from `at` on that begins a word.
    fn word_at(&self, doc: u32, at: usize, vocabulary: &Vocabulary) -> usize {
        let ids = self.ids(doc);
        let inside = |&at: &usize| {
            self.continues(doc, at)
                .unwrap_or_else(|| vocabulary.continues(ids[at]))
        };
        (at..ids.len()).find(|at| !inside(at)).unwrap_or(ids.len())
    }

    /// How much of its text stands behind a document, where it is a piece of one: 0 to 1.
    pub(super) fn share_behind(&self, doc: u32) -> Option<f64> {
        let text = self.pieces.iter().find(|range| range.contains(&doc))?;
        Some((text.end - 1 - doc) as f64 / text.len() as f64)
    }

    /// Whether the document behind this one is the next piece of the same text.
    pub(super) fn goes_on(&self, doc: u32) -> bool {
        let at = self.pieces.partition_point(|range| range.end <= doc);
        let text = self.pieces.get(at);
        text.is_some_and(|range| range.contains(&doc) && range.contains(&(doc + 1)))
    }

    /// The number, among the texts that were read, of the one that a document is or is a piece of; and
    /// whether it is a piece.
    pub fn text_of(&self, doc: u32) -> (u32, bool) {
        let before = self.pieces.iter().filter(|range| range.end <= doc);
        let more: u32 = before.map(|range| range.len() as u32 - 1).sum();
        match self.pieces.iter().find(|range| range.contains(&doc)) {
            Some(range) => (range.start - more, true),
            None => (doc - more, false),
        }
    }

    /// Tokenises examples in memory.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn from_examples(
        examples: impl IntoIterator<Item = Example>,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let mut ids = Vec::new();
        let read = |sink: &mut Sink| examples.into_iter().try_for_each(sink);
        let index = tokenise_into(tokenizer, read, &mut |new| {
            ids.extend_from_slice(new);
            Ok(())
        })?;
        Ok(Self::new(Tokens::Owned(ids), index, false))
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.index.labels.len()
    }

    /// True when there is no document.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens of all documents.
    pub fn tokens(&self) -> u64 {
        self.index.offsets.last().copied().unwrap_or(0)
    }

    /// The ids of document `doc`, without `<eos>`. Empty for a number that is out of range.
    pub fn ids(&self, doc: u32) -> &[u32] {
        let doc = doc as usize;
        match self.index.offsets.get(doc..doc + 2) {
            Some(&[start, end]) => &self.tokens.ids()[start as usize..end as usize],
            _ => &[],
        }
    }

    /// The ids of the first and, where there is one, the second text of document `doc`.
    pub fn texts(&self, doc: u32) -> (&[u32], Option<&[u32]>) {
        let ids = self.ids(doc);
        let at = doc as usize;
        match (self.index.offsets.get(at), self.index.middles.get(at)) {
            (Some(start), Some(middle)) if ((middle - start) as usize) < ids.len() => {
                let (first, second) = ids.split_at((middle - start) as usize);
                (first, Some(second))
            }
            _ => (ids, None),
        }
    }

    /// Whether token `at` of document `doc` continues the word of the token before it, where the
    /// tokeniser says more than its ids tell; `None` where the ids tell.
    pub fn continues(&self, doc: u32, at: usize) -> Option<bool> {
        let token = *self.index.offsets.get(doc as usize)? as usize + at;
        let bits = self.index.continues.get(token / 64)?;
        Some(bits >> (token % 64) & 1 == 1)
    }

    /// The class of document `doc`.
    pub fn label(&self, doc: u32) -> Option<u32> {
        let label = self.index.labels.get(doc as usize)?;
        u32::try_from(*label).ok()
    }

    /// The part of the data that document `doc` belongs to, where the data say so.
    pub fn split(&self, doc: u32) -> Option<Split> {
        self.index.splits.get(doc as usize).copied().flatten()
    }

    /// Names of the classes, in the order of [`classes::sorted`]; a class's id is its place here.
    pub fn label_names(&self) -> &[String] {
        &self.index.label_names
    }

    /// Whether a cached copy was used.
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    /// All documents for which `keep` holds of their number.
    pub fn filter(&self, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        (0..self.len() as u32).filter(|&doc| keep(doc)).collect()
    }

    /// The labelled documents of one part of the data.
    pub fn labelled_in(&self, part: Split) -> Vec<u32> {
        self.filter(|doc| self.split(doc) == Some(part) && self.label(doc).is_some())
    }

    /// All labelled documents.
    pub fn labelled(&self) -> Vec<u32> {
        self.filter(|doc| self.label(doc).is_some())
    }

    /// How many of the documents `docs` each class has.
    pub fn label_counts(&self, docs: &[u32]) -> Vec<usize> {
        let mut counts = vec![0; self.label_names().len()];
        for class in docs.iter().filter_map(|&doc| self.label(doc)) {
            counts[class as usize] += 1;
        }
        counts
    }

    /// What a language model may be pretrained on: all documents outside the test part.
    pub fn for_pretraining(&self) -> Vec<u32> {
        self.filter(|doc| self.split(doc) != Some(Split::Test))
    }

    /// Checks that `train` can teach what `eval` asks: two classes or more in training, and no
    /// label in evaluation that training lacks.
    ///
    /// # Errors
    /// [`Error::NoLabels`], [`Error::UnseenLabel`].
    pub fn check_labels(&self, train: &[u32], eval: &[u32]) -> Result<()> {
        let classes = |docs: &[u32]| {
            docs.iter()
                .filter_map(|&doc| self.label(doc))
                .collect::<BTreeSet<_>>()
        };
        let name = |class: &u32| self.index.label_names[*class as usize].clone();
        let known = classes(train);
        let names = known.iter().map(name).collect::<Vec<_>>().join(", ");
        if known.len() < 2 {
            let found = if names.is_empty() {
                "none".into()
            } else {
                names
            };
            return Err(Error::NoLabels {
                what: "training a classifier".into(),
                found,
            });
        }
        match classes(eval).difference(&known).next() {
            None => Ok(()),
            Some(class) => Err(Error::UnseenLabel {
                label: name(class),
                place: "the evaluation examples".into(),
                known: names,
            }),
        }
    }
}

/// Tokenises `sources`, one after the other, or maps the copy that an earlier run left in
/// `cache` (a folder, made if need be).
///
/// The copy is keyed by the content of the sources, how they are read, and the tokeniser. A copy
/// that is damaged is written anew. Labels get ids over all sources together, in the order of
/// [`classes::sorted`].
///
/// # Errors
/// Those of [`corpus::read`]; [`Error::Tokenizer`]; [`Error::Io`], [`Error::DiskFull`]
/// when the copy cannot be written.
pub fn tokenise(
    sources: &[Source],
    tokenizer: &Tokenizer,
    cache: Option<&Path>,
) -> Result<Documents> {
    let read = |sink: &mut Sink| {
        sources
            .iter()
            .try_for_each(|source| corpus::read(source, sink).map(|_| ()))
    };
    match cache {
        Some(folder) => {
            let key = cache::key(sources, tokenizer)?;
            cache::load_or_build(folder, &key, tokenizer, read)
        }
        None => {
            let mut ids = Vec::new();
            let index = tokenise_into(tokenizer, read, &mut |new| {
                ids.extend_from_slice(new);
                Ok(())
            })?;
            Ok(Documents::new(Tokens::Owned(ids), index, false))
        }
    }
}
