//! Labels of words: named entities and the like.

use std::path::Path;

use serde::Serialize;

use super::Loaded;
use crate::device::Gpu;
use crate::error::Result;
use crate::hub::Head;
use crate::models::Pretrained;
use crate::objectives::Problem;
use crate::objectives::labels::shown;
use crate::objectives::scores::argmax;
use crate::tensor::Tape;
use crate::text::Encoding;

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
}

/// Whether a folder's model labels words.
///
/// # Errors
/// Those of reading.
pub fn is_tagger(folder: &Path, base: Option<&Path>) -> Result<bool> {
    let class = Pretrained::open(folder, base)?.architecture;
    Ok(class.is_some_and(|class| class.head() == Head::Token))
}

impl Tagger {
    /// Opens the folder of a word classifier, or an adapter's.
    ///
    /// # Errors
    /// [`crate::Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, base: Option<&Path>) -> Result<Tagger> {
        let loaded = Loaded::open(gpu, folder, base, |_| Ok(Head::Token))?;
        Ok(Tagger {
            labels: loaded.config.labels().names(),
            loaded,
        })
    }

    /// The words of a text with their labels: a word has that of its first token, as in training.
    /// Those behind the model's positions are left out, which is said.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a text without a token; those of the device.
    pub fn tag(&self, text: &str) -> Result<Vec<Word>> {
        let gpu = &self.loaded.gpu;
        let mut encoding = self.loaded.tokenizer.encoding(text, None, true)?;
        cut(&mut encoding, self.loaded.config.positions());
        let row = self.loaded.row("predict", &encoding)?;
        let tape = Tape::inference(gpu);
        let model = self.loaded.network.as_tagger();
        let model = model.ok_or_else(|| self.loaded.cannot(Head::Token))?;
        let logits = model.logits(&tape, &row.tokens()?)?;
        let width = logits.shape().last();
        let values = logits.to_vec::<f32>()?;
        let letters: Vec<char> = text.chars().collect();
        let mut words: Vec<Word> = Vec::new();
        let mut last = None;
        for (t, logits) in values.chunks(width).enumerate() {
            let (Some(number), (start, end)) = (encoding.words[t], encoding.offsets[t]) else {
                continue;
            };
            if last != Some(number) {
                let probabilities = shown(Problem::SingleLabel, logits);
                let best = argmax(&probabilities);
                words.push(Word {
                    word: String::new(),
                    start,
                    end,
                    label: self.labels[best].clone(),
                    score: probabilities[best],
                });
                last = Some(number);
            }
            if let Some(word) = words.last_mut() {
                word.end = end;
                word.word = letters[word.start..end].iter().collect();
            }
        }
        Ok(words)
    }
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
