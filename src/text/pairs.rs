//! Pairs for next-sentence prediction.
//!
//! Source: Devlin et al., NAACL 2019, section 3.1, and the code they published,
//! `create_instances_from_document`: a stretch of text is cut at a sentence's end; the second
//! part stays, or is replaced by a stretch of another document and read again later; both parts
//! are shortened, the longer one first, at either end.
//!
//! Unlike there, a stretch of only one sentence is cut inside it, so that half of the pairs are
//! true whatever the texts' length.

use serde::{Deserialize, Serialize};

use super::documents::Documents;
use super::rng::Rng;
use super::sequences::{Frame, Piece, Sequences};
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// How pairs are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairOptions {
    /// Share of pairs whose second text comes from another document.
    pub random: f64,
    /// Share of pairs that are made for a random, shorter length.
    pub short: f64,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            random: 0.5,
            short: 0.1,
        }
    }
}

/// A document and the places where its sentences end, its own end left out.
struct Text {
    doc: u32,
    length: u32,
    ends: Vec<u32>,
}

impl Text {
    fn new(documents: &Documents, doc: u32, vocabulary: &Vocabulary) -> Self {
        let ids = documents.ids(doc);
        let end = |place: &usize| {
            let (before, after) = (ids[place - 1], ids[*place]);
            // `。」` and `."` end a sentence behind the quotation mark.
            let closed = vocabulary.closes_sentence(before)
                && ids[..*place]
                    .iter()
                    .rfind(|&&id| !vocabulary.closes_sentence(id))
                    .is_some_and(|&id| vocabulary.ends_sentence(id));
            (vocabulary.ends_sentence(before) || closed)
                && !vocabulary.ends_sentence(after)
                && !vocabulary.closes_sentence(after)
        };
        Self {
            doc,
            length: ids.len() as u32,
            ends: (1..ids.len())
                .filter(end)
                .map(|place| place as u32)
                .collect(),
        }
    }

    fn piece(&self, start: u32, end: u32) -> Piece {
        Piece {
            doc: self.doc,
            start,
            end,
        }
    }

    /// From `start` to the end of the sentence with which `length` tokens are reached.
    fn stretch(&self, start: u32, length: u32) -> Piece {
        let wanted = start.saturating_add(length);
        let place = self.ends.partition_point(|&end| end < wanted);
        let end = self.ends.get(place).copied().unwrap_or(self.length);
        self.piece(start, end)
    }
}

/// All pairs of the documents `which`, and for each 0 when the second text follows the first, 1
/// when it is from elsewhere. At most `max_len` tokens each, frame included.
///
/// # Errors
/// [`Error::Argument`] when fewer than two documents have text, or a share is outside 0..=1.
pub fn compose(
    documents: &Documents,
    which: &[u32],
    frame: Frame,
    max_len: usize,
    vocabulary: &Vocabulary,
    options: &PairOptions,
    seed: u64,
) -> Result<(Sequences, Vec<i32>)> {
    let wrong = |arg, value, expected| Error::argument("next-sentence pairs", arg, value, expected);
    for (arg, share) in [("random", options.random), ("short", options.short)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(wrong(arg, share.to_string(), "0 to 1"));
        }
    }
    let texts: Vec<Text> = which
        .iter()
        .map(|&doc| Text::new(documents, doc, vocabulary))
        .filter(|text| text.length > 0)
        .collect();
    if texts.len() < 2 {
        return Err(wrong(
            "documents",
            texts.len().to_string(),
            "2 or more with text: the second text of a false pair comes from another one",
        ));
    }
    let most = (max_len - frame.pair_overhead()) as u32;
    let mut rng = Rng::new(seed, &[0x2A1]);
    let (mut pairs, mut labels) = (Sequences::default(), Vec::new());
    for (number, text) in texts.iter().enumerate() {
        let mut start = 0;
        // One token alone cannot be cut.
        while text.length - start >= 2 {
            let goal = if rng.chance(options.short) {
                2 + rng.below(most as usize - 1) as u32
            } else {
                most
            };
            let all = text.stretch(start, goal);
            let cut = cut(text, all, most, &mut rng);
            let mut first = text.piece(start, cut);
            let random = rng.chance(options.random);
            let mut second = if random {
                start = cut;
                let other = &texts[other(number, texts.len(), &mut rng)];
                let from = match rng.below(other.ends.len() + 1) {
                    0 => 0,
                    place => other.ends[place - 1],
                };
                let room = goal.saturating_sub(first.len() as u32).max(1);
                other.stretch(from, room)
            } else {
                start = all.end;
                text.piece(cut, all.end)
            };
            shorten(&mut first, &mut second, most, &mut rng);
            pairs.push([first, second]);
            labels.push(i32::from(random));
        }
    }
    Ok((pairs, labels))
}

/// Where a stretch of two tokens or more is cut: at the end of a sentence in it, if there is one.
fn cut(text: &Text, all: Piece, most: u32, rng: &mut Rng) -> u32 {
    let from = text.ends.partition_point(|&end| end <= all.start);
    let to = text.ends.partition_point(|&end| end < all.end);
    match to - from {
        // Within what fits: the rest of an endless sentence is read later or cut off.
        0 => all.start + 1 + rng.below((all.len() as u32).min(most) as usize - 1) as u32,
        inner => text.ends[from + rng.below(inner)],
    }
}

/// Another number than `number` below `count`.
fn other(number: usize, count: usize, rng: &mut Rng) -> usize {
    (number + 1 + rng.below(count - 1)) % count
}

/// Takes tokens from the longer text, from a random end, until both fit.
fn shorten(first: &mut Piece, second: &mut Piece, most: u32, rng: &mut Rng) {
    while first.len() + second.len() > most as usize {
        let longer = if first.len() > second.len() {
            &mut *first
        } else {
            &mut *second
        };
        if rng.chance(0.5) {
            longer.start += 1
        } else {
            longer.end -= 1
        }
    }
}
