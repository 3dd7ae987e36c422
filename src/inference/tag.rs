//! Labels of words: named entities and the like.

use std::path::Path;

use serde::Serialize;

use super::rows::{Framed, Runner};
use super::{Loaded, ROOM};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::{Beside, Pretrained};
use crate::objectives::Problem;
use crate::objectives::feed::Feed;
use crate::objectives::labels::shown;
use crate::objectives::scores::argmax;
use crate::tensor::Tape;
use crate::text::{Encoding, Frame};

/// A word with its label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Word {
    /// The word as it stands in the text.
    pub word: String,
    /// Where it begins in the text, in characters.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
    /// The most probable label.
    pub label: String,
    /// Its probability.
    pub score: f32,
}

/// A model that labels words.
pub struct Tagger {
    loaded: Loaded,
    labels: Vec<String>,
    runner: Runner,
}

/// Whether a folder's model labels words.
///
/// # Errors
/// Those of reading.
pub fn is_tagger(folder: &Path, beside: Beside<'_>) -> Result<bool> {
    let class = Pretrained::open_beside(folder, beside)?.architecture;
    Ok(class.is_some_and(|class| class.head() == Head::Token))
}

impl Tagger {
    /// Opens the folder of a word classifier, or an adapter's.
    ///
    /// # Errors
    /// [`crate::Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, beside: Beside<'_>) -> Result<Tagger> {
        let loaded = Loaded::open(gpu, folder, beside, |_| Ok(Head::Token))?;
        Ok(Tagger {
            labels: loaded.config.labels().names(),
            loaded,
            runner: Runner::default(),
        })
    }

    /// The words of each text with their labels: a word has that of its first token, as in training.
    /// Those behind the model's positions are left out, which is said.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a text without a token; those of the device.
    pub fn tag<S: AsRef<str>>(&mut self, texts: &[S]) -> Result<Vec<Vec<Word>>> {
        let (tokenizer, most) = (&self.loaded.tokenizer, self.loaded.config.positions());
        let encode = |text: &S| {
            let mut encoding = tokenizer.encoding(text.as_ref(), None, true)?;
            cut(&mut encoding, most);
            if encoding.ids.is_empty() {
                return Err(Error::argument("predict", "text", "no token", ROOM));
            }
            Ok(encoding)
        };
        let encodings: Vec<Encoding> = texts.iter().map(encode).collect::<Result<_>>()?;
        let texts: Vec<Vec<char>> = (texts.iter())
            .map(|text| text.as_ref().chars().collect())
            .collect();
        self.label(encodings, &texts)
    }

    /// The same of texts that are cut in words already.
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub fn tag_words<S: AsRef<str>>(&mut self, texts: &[Vec<S>]) -> Result<Vec<Vec<Word>>> {
        let (tokenizer, most) = (&self.loaded.tokenizer, self.loaded.config.positions());
        let frame = Frame::of(tokenizer.vocabulary())?;
        let (mut encodings, mut letters) = (Vec::new(), Vec::new());
        for words in texts {
            let (mut encoding, mut text) = (Encoding::default(), Vec::new());
            append(&mut encoding, frame.cls, None, (0, 0));
            for (number, word) in words.iter().enumerate() {
                let word = word.as_ref();
                text.extend((number > 0).then_some(' '));
                let start = text.len();
                text.extend(word.chars());
                let ids = tokenizer.encode_word(word, number == 0)?;
                append(&mut encoding, ids, Some(number as u32), (start, text.len()));
            }
            append(&mut encoding, frame.sep, None, (0, 0));
            cut(&mut encoding, most);
            encodings.push(encoding);
            letters.push(text);
        }
        self.label(encodings, &letters)
    }

    fn label(&mut self, encodings: Vec<Encoding>, texts: &[Vec<char>]) -> Result<Vec<Vec<Word>>> {
        let loaded = &self.loaded;
        let model = loaded.network.as_tagger();
        let model = model.ok_or_else(|| loaded.cannot(Head::Token))?;
        let framed = |encoding: &Encoding| Framed {
            ids: encoding.ids.clone(),
            types: encoding.token_types.clone(),
        };
        let rows: Vec<Framed> = encodings.iter().map(framed).collect();
        let forward = |tape: &Tape, feed: &Feed| model.logits(tape, &feed.tokens()?);
        let (labels, most) = (&self.labels, loaded.config.positions());
        let mut all = vec![Vec::new(); rows.len()];
        self.runner.run(loaded, &rows, most, forward, |n, logits| {
            all[n] = words(&encodings[n], &texts[n], logits, labels);
        })?;
        Ok(all)
    }
}

/// Adds the tokens of a word, or special ones.
fn append(
    encoding: &mut Encoding,
    ids: impl IntoIterator<Item = u32>,
    word: Option<u32>,
    offsets: (usize, usize),
) {
    for id in ids {
        encoding.ids.push(id);
        encoding.tokens.push(String::new());
        encoding.offsets.push(offsets);
        encoding.words.push(word);
        encoding.token_types.push(0);
    }
}

/// The words of a text by the logits of its tokens.
fn words(encoding: &Encoding, text: &[char], logits: &[f32], labels: &[String]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut last = None;
    let tokens = encoding.words.iter().zip(&encoding.offsets);
    for ((number, &(start, end)), logits) in tokens.zip(logits.chunks(labels.len())) {
        if number.is_none() {
            continue;
        }
        if last != *number {
            let probabilities = shown(Problem::SingleLabel, logits);
            let best = argmax(&probabilities);
            words.push(Word {
                word: String::new(),
                start,
                end,
                label: labels[best].clone(),
                score: probabilities[best],
            });
            last = *number;
        }
        if let Some(word) = words.last_mut() {
            word.end = end;
            word.word = text[word.start..end].iter().collect();
        }
    }
    words
}

/// Takes whole words off the end of a text, but not the special token behind them, until it fits.
fn cut(encoding: &mut Encoding, most: usize) {
    let tokens = encoding.ids.len();
    if tokens <= most {
        return;
    }
    let special = encoding.words.last().is_some_and(Option::is_none);
    let end = tokens - usize::from(special);
    let mut from = end - (tokens - most);
    while from > 0
        && encoding.words[from].is_some()
        && encoding.words[from] == encoding.words[from - 1]
    {
        from -= 1;
    }
    log::warn!(
        "a text has {tokens} tokens, and the model has {most} positions; its words from character \
         {} on are left out",
        encoding.offsets[from].0
    );
    encoding.ids.drain(from..end);
    encoding.tokens.drain(from..end);
    encoding.offsets.drain(from..end);
    encoding.words.drain(from..end);
    encoding.token_types.drain(from..end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_cut_off() {
        let words = [None, Some(0), Some(1), Some(1), Some(2), None];
        let whole = Encoding {
            ids: (0..6).collect(),
            tokens: vec![String::new(); 6],
            offsets: vec![(0, 0); 6],
            words: words.to_vec(),
            token_types: vec![0; 6],
        };
        for (most, ids) in [
            (6, &[0, 1, 2, 3, 4, 5][..]),
            (5, &[0, 1, 2, 3, 5]),
            (4, &[0, 1, 5]),
            (3, &[0, 1, 5]),
            (2, &[0, 5]),
        ] {
            let mut encoding = whole.clone();
            cut(&mut encoding, most);
            assert_eq!(encoding.ids, ids, "{most}");
            assert_eq!(encoding.words.len(), ids.len());
        }
    }
}
