//! Masks for masked language modelling: which tokens of a row are to be guessed, and what stands
//! in their place.
//!
//! Source: Devlin et al., NAACL 2019, section 3.1 and appendix A.1 (15 % of the tokens;
//! of these 80 % `[MASK]`, 10 % a random token, 10 % unchanged), and the code they published,
//! `create_masked_lm_predictions` (a row's number of masks is its length times the rate, one at
//! least; whole words are taken in random order as far as they fit). Dynamic masks: Liu et al.,
//! 2019, section 4.1.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::batch::Position;
use super::rng::Rng;
use super::vocabulary::Vocabulary;
use crate::{Error, Result};

/// How a rate moves from one value to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateShape {
    /// In a straight line.
    #[default]
    Linear,
    /// Along half a cosine: slowly, fast, slowly.
    Cosine,
}

/// The share of tokens that are masked, over the course of training. In files a number, or
/// `{ from, to, kind }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskRate {
    /// At the first step.
    pub from: f64,
    /// At the last step.
    pub to: f64,
    /// In between.
    pub kind: RateShape,
}

/// As a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Schedule {
    from: f64,
    to: f64,
    #[serde(default)]
    kind: RateShape,
}

impl Serialize for MaskRate {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        if *self == Self::constant(self.from) {
            return to.serialize_f64(self.from);
        }
        let MaskRate {
            from,
            to: end,
            kind,
        } = *self;
        Schedule {
            from,
            to: end,
            kind,
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for MaskRate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = MaskRate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or { from, to, kind }")
            }

            fn visit_f64<E: de::Error>(self, rate: f64) -> std::result::Result<MaskRate, E> {
                Ok(MaskRate::constant(rate))
            }

            fn visit_u64<E: de::Error>(self, rate: u64) -> std::result::Result<MaskRate, E> {
                self.visit_f64(rate as f64)
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                map: A,
            ) -> std::result::Result<MaskRate, A::Error> {
                let Schedule { from, to, kind } =
                    Schedule::deserialize(MapAccessDeserializer::new(map))?;
                Ok(MaskRate { from, to, kind })
            }
        }
        from.deserialize_any(Either)
    }
}

impl Default for MaskRate {
    fn default() -> Self {
        Self::constant(0.15)
    }
}

impl MaskRate {
    /// The same rate from beginning to end.
    pub fn constant(rate: f64) -> Self {
        Self {
            from: rate,
            to: rate,
            kind: RateShape::default(),
        }
    }

    /// The rate when `progress` (0 at the first step, 1 at the last) of the training is done.
    pub fn at(&self, progress: f64) -> f64 {
        // A NaN, as 0 steps of 0 give, is the beginning.
        let p = if progress.is_nan() {
            0.0
        } else {
            progress.clamp(0.0, 1.0)
        };
        let done = match self.kind {
            RateShape::Linear => p,
            RateShape::Cosine => (1.0 - (std::f64::consts::PI * p).cos()) / 2.0,
        };
        self.from + (self.to - self.from) * done
    }

    /// The largest rate that occurs.
    pub fn max(&self) -> f64 {
        self.from.max(self.to)
    }
}

/// How tokens are masked; the defaults are those of Devlin et al. (2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Masking {
    /// Share of the text's tokens to be guessed, fixed or scheduled over the stage.
    pub rate: MaskRate,
    /// Share of these that `[MASK]` replaces.
    pub replace: f64,
    /// Share of these that a random token of the vocabulary (no special one) replaces.
    pub random: f64,
    /// Share of these that stay as they are: the rest.
    pub keep: f64,
    /// Mask all tokens of a word or none.
    pub whole_word: bool,
    /// Draw anew each time a text is seen, instead of once: every epoch then masks the same tokens.
    pub dynamic: bool,
}

impl Default for Masking {
    fn default() -> Self {
        Self {
            rate: MaskRate::default(),
            replace: 0.8,
            random: 0.1,
            keep: 0.1,
            whole_word: false,
            dynamic: true,
        }
    }
}

/// A token to be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked {
    /// Its column.
    pub at: usize,
    /// What stood there.
    pub target: u32,
}

/// Masks rows.
#[derive(Clone, Debug)]
pub struct Masker {
    options: Masking,
    mask: u32,
    words: Vec<u32>,
}

impl Masker {
    /// A masker for a vocabulary.
    ///
    /// # Errors
    /// [`Error::Argument`] for a rate outside 0..=1, or shares below 0 or of more than 1 together;
    /// [`Error::Tokenizer`] when the vocabulary has no `[MASK]` or no text.
    pub fn new(options: Masking, vocabulary: &Vocabulary) -> Result<Self> {
        let Masking {
            rate,
            replace,
            random,
            ..
        } = options;
        let wrong = |arg, value: f64, expected| Error::argument("masking", arg, value, expected);
        for rate in [rate.from, rate.to] {
            if !(rate > 0.0 && rate <= 1.0) {
                return Err(wrong("rate", rate, "above 0, at most 1"));
            }
        }
        for (arg, share) in [("replace", replace), ("random", random)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(wrong(arg, share, "0 to 1"));
            }
        }
        // 0.9 + 0.1 and the like may be a little off.
        if replace + random > 1.0 + 1e-9 {
            let expected = "at most 1 together with the share of [MASK]";
            return Err(wrong("random", random, expected));
        }
        let words = vocabulary.text_ids();
        if words.is_empty() {
            vocabulary.need("text", "masked-LM training")?;
        }
        Ok(Self {
            options,
            mask: vocabulary.need("mask_token", "masked-LM training")?,
            words,
        })
    }

    /// The generator for sequence `number`: static masks know nothing of the epoch.
    pub fn rng(&self, position: Position, number: u32) -> Rng {
        let number = u64::from(number);
        if self.options.dynamic {
            Rng::new(position.seed, &[0x3A5D, position.epoch, number])
        } else {
            Rng::new(position.seed, &[0x3A5C, number])
        }
    }

    /// Masks some of the tokens `candidates` (columns of `row`, ascending) at `rate`, at most
    /// `most` of them, and returns these, ascending. `continues(column)` tells that a token
    /// belongs to the word of the candidate before it.
    ///
    /// With equal draws a higher rate masks the tokens that a lower one does, and more (words as
    /// a whole: as far as they fit).
    pub fn mask(
        &self,
        row: &mut [u32],
        candidates: &[usize],
        continues: &dyn Fn(usize) -> bool,
        rate: f64,
        most: usize,
        mut rng: Rng,
    ) -> Vec<Masked> {
        // The rate is met on average, also where rate * length is no whole number.
        let wanted = (rate * candidates.len() as f64 + rng.unit()) as usize;
        let wanted = wanted.max(1).min(candidates.len()).min(most);
        let mut words = self.words_of(candidates, continues);
        rng.shuffle(&mut words);
        let mut masked = Vec::with_capacity(wanted);
        if wanted == 0 {
            return masked;
        }
        for word in &words {
            // What is drawn for a word does not depend on how many are taken.
            let draws: Vec<u32> = word
                .iter()
                .map(|&at| self.replace(row[at], &mut rng))
                .collect();
            if masked.len() + word.len() <= wanted {
                for (&at, new) in word.iter().zip(draws) {
                    let target = std::mem::replace(&mut row[at], new);
                    masked.push(Masked { at, target });
                }
            }
            if masked.len() == wanted {
                break;
            }
        }
        // All words longer than the row's share: rather one too long than none.
        let fits = |word: &&&[usize]| word.len() <= most;
        if let (true, Some(word)) = (masked.is_empty(), words.iter().find(fits)) {
            for &at in *word {
                let new = self.replace(row[at], &mut rng);
                let target = std::mem::replace(&mut row[at], new);
                masked.push(Masked { at, target });
            }
        }
        masked.sort_unstable_by_key(|masked| masked.at);
        masked
    }

    /// Candidates that are masked together or not at all.
    fn words_of<'a>(
        &self,
        candidates: &'a [usize],
        continues: &dyn Fn(usize) -> bool,
    ) -> Vec<&'a [usize]> {
        if !self.options.whole_word {
            return candidates.chunks(1).collect();
        }
        candidates
            .chunk_by(|&before, &at| at == before + 1 && continues(at))
            .collect()
    }

    fn replace(&self, id: u32, rng: &mut Rng) -> u32 {
        let (kind, word) = (rng.unit(), self.words[rng.below(self.words.len())]);
        if kind < self.options.replace {
            self.mask
        } else if kind < self.options.replace + self.options.random {
            word
        } else {
            id
        }
    }

    /// The rate at a point of the training.
    pub fn rate(&self, progress: f64) -> f64 {
        self.options.rate.at(progress)
    }

    /// M, the room for masked positions in a batch of (B, T): so many as the highest rate gives
    /// in full rows, and one for each row at least.
    pub fn room(&self, batch: usize, time: usize) -> usize {
        let full = (batch * time) as f64 * self.options.rate.max();
        (full.round() as usize).max(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::{MaskRate, RateShape};

    #[test]
    fn rates_have_their_shapes() {
        let rate = |kind| MaskRate {
            from: 0.4,
            to: 0.1,
            kind,
        };
        assert_eq!(MaskRate::constant(0.4).at(0.7), 0.4);
        assert_eq!(MaskRate::constant(0.4).max(), 0.4);
        assert_eq!(rate(RateShape::Cosine).max(), 0.4);
        // Rounding alone: numbers below 1.
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(rate(RateShape::Linear).at(0.5), 0.25);
        near(rate(RateShape::Linear).at(2.0), 0.1);
        near(rate(RateShape::Linear).at(f64::NAN), 0.4);
        near(rate(RateShape::Cosine).at(0.0), 0.4);
        let quarter = 0.1 + 0.3 * (1.0 + 0.5f64.sqrt()) / 2.0;
        near(rate(RateShape::Cosine).at(0.25), quarter);
        near(rate(RateShape::Cosine).at(1.0), 0.1);
    }
}
