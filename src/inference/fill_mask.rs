//! Guessing the tokens behind `[MASK]`.

use std::path::Path;

use serde::Serialize;

use super::Loaded;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Head;
use crate::models::Beside;
use crate::ops::RowSelection;
use crate::tensor::Tape;
use crate::text::Tokenizer;

const OP: &str = "fill-mask";

/// A masked language model.
pub struct FillMask {
    loaded: Loaded,
}

/// What may stand behind one mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Blank {
    /// The mask's place among the text's tokens, special ones counted.
    pub position: usize,
    /// The most probable tokens, best first.
    pub guesses: Vec<Guess>,
}

/// A token that may stand behind a mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guess {
    /// Its probability.
    pub score: f32,
    /// Its id.
    pub token: u32,
    /// The token as it stands in the vocabulary.
    pub token_str: String,
    /// The text with it in the mask's place; other masks stay.
    pub sequence: String,
}

impl FillMask {
    /// Opens a model folder with a masked-LM head, or an adapter's.
    ///
    /// # Errors
    /// [`Error::Folder`] for another model; those of reading.
    pub fn open(gpu: Gpu, folder: &Path, beside: Beside<'_>) -> Result<FillMask> {
        let loaded = Loaded::open(gpu, folder, beside, |_| Ok(Head::MaskedLm))?;
        Ok(FillMask { loaded })
    }

    /// The `top` most probable tokens for each mask in a text.
    ///
    /// # Errors
    /// [`Error::Argument`] for a text without a mask, or one that is too long;
    /// [`Error::Tokenizer`] for a tokeniser without masks.
    pub fn fill(&self, text: &str, top: usize) -> Result<Vec<Blank>> {
        let (gpu, tokenizer) = (&self.loaded.gpu, &self.loaded.tokenizer);
        let mask = tokenizer.vocabulary().need("mask_token", "fill-mask")?;
        let encoding = tokenizer.encoding(text, None, true)?;
        let tokens = (0u32..).zip(&encoding.ids);
        let masked = tokens.filter(|(_, id)| **id == mask);
        let places: Vec<u32> = masked.map(|(place, _)| place).collect();
        if places.is_empty() {
            let expected = "a text with the mask token in it, as \"He [MASK] home.\"";
            return Err(Error::argument(OP, "text", format!("'{text}'"), expected));
        }
        let row = self.loaded.row(OP, &encoding)?;
        let rows = RowSelection::empty(gpu, encoding.ids.len(), places.len())?;
        rows.write(&places)?;
        let tape = Tape::inference(gpu);
        let model = self.loaded.network.as_masked_lm();
        let model = model.ok_or_else(|| self.loaded.cannot(Head::MaskedLm))?;
        let logits = model.logits(&tape, &row.tokens()?, &rows)?;
        let width = logits.shape().last();
        let known = tokenizer.vocab_size().min(width);
        let values = logits.to_vec::<f32>()?;
        let mut blanks = Vec::new();
        for (&place, logits) in places.iter().zip(values.chunks(width)) {
            let position = place as usize;
            let mut guesses = Vec::new();
            for (token, score) in best(&logits[..known], top) {
                let mut ids = encoding.ids.clone();
                ids[position] = token;
                guesses.push(Guess {
                    score,
                    token,
                    token_str: tokenizer.token(token).unwrap_or_default(),
                    sequence: if places.len() == 1 {
                        tokenizer.decode(&ids)?
                    } else {
                        decoded(tokenizer, &ids, mask)?
                    },
                });
            }
            blanks.push(Blank { position, guesses });
        }
        Ok(blanks)
    }
}

/// The text of ids, without special tokens but for the masks that are left.
fn decoded(tokenizer: &Tokenizer, ids: &[u32], mask: u32) -> Result<String> {
    let vocabulary = tokenizer.vocabulary();
    let shown = |id: &u32| *id == mask || !vocabulary.is_special(*id);
    let ids: Vec<u32> = ids.iter().copied().filter(shown).collect();
    tokenizer.decode_with(&ids, false)
}

/// The `top` largest logits as (number, probability), largest first; equals by number.
fn best(logits: &[f32], top: usize) -> Vec<(u32, f32)> {
    let peak = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|z| f64::from(z - peak).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    let probability = |id: u32| (f64::from(logits[id as usize] - peak).exp() / sum) as f32;
    let chosen = order.into_iter().take(top);
    chosen.map(|id| (id, probability(id))).collect()
}

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn the_best_come_first_with_their_probabilities() {
        let found = best(&[0.0, 2f32.ln(), 5f32.ln(), 0.0], 3);
        let ids: Vec<u32> = found.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [2, 1, 0]);
        for ((_, p), want) in found.iter().zip([5.0 / 9.0, 2.0 / 9.0, 1.0 / 9.0]) {
            assert!((p - want).abs() < 1e-6, "{p} {want}");
        }
    }
}
