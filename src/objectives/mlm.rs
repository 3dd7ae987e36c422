//! "mlm" and "mlm_nsp": masked language models, alone or with next-sentence prediction.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{AnyObjective, LENGTH, Labels, Objective, Problem, WrongOption, check_length, require};
use crate::hub::Head;

/// Predicts masked tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mlm {
    /// Tokens of a sequence.
    pub max_len: usize,
    /// Fill sequences with text up to `max_len` instead of one text each.
    pub packing: bool,
    /// How tokens are masked.
    pub masking: Masking,
}

/// Predicts masked tokens, and whether the second half of the sequence follows the first in the
/// text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlmNsp {
    /// Tokens of a sequence.
    pub max_len: usize,
    /// How tokens are masked.
    pub masking: Masking,
}

/// How tokens are masked; the defaults are those of Devlin et al. (2019).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Masking {
    /// Share of the tokens that are predicted, fixed or scheduled over the stage.
    pub rate: MaskRate,
    /// Share of these that become the mask token.
    pub replace: f32,
    /// Share of these that become a random token.
    pub random: f32,
    /// Share of these that stay as they are.
    pub keep: f32,
    /// All pieces of a word or none.
    pub whole_word: bool,
    /// Draw anew each time a text is seen, instead of once.
    pub dynamic: bool,
}

impl Default for Masking {
    fn default() -> Self {
        Self {
            rate: MaskRate::Fixed(0.15),
            replace: 0.8,
            random: 0.1,
            keep: 0.1,
            whole_word: false,
            dynamic: true,
        }
    }
}

/// The masking rate: a number, or `{ from, to, kind }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MaskRate {
    /// The same throughout.
    Fixed(f64),
    /// From one rate to another over the stage.
    Scheduled(RateSchedule),
}

/// A masking rate that moves over a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSchedule {
    /// Rate of the first step.
    pub from: f64,
    /// Rate of the last step.
    pub to: f64,
    /// Its path between them.
    #[serde(default)]
    pub kind: RateKind,
}

/// Paths of a masking rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateKind {
    /// A straight line.
    #[default]
    Linear,
    /// Half a cosine.
    Cosine,
}

impl<'de> Deserialize<'de> for MaskRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = MaskRate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or { from, to, kind }")
            }

            fn visit_f64<E: de::Error>(self, rate: f64) -> Result<MaskRate, E> {
                Ok(MaskRate::Fixed(rate))
            }

            fn visit_u64<E: de::Error>(self, rate: u64) -> Result<MaskRate, E> {
                Ok(MaskRate::Fixed(rate as f64))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MaskRate, A::Error> {
                RateSchedule::deserialize(MapAccessDeserializer::new(map)).map(MaskRate::Scheduled)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Masking {
    /// Checks rates and shares.
    fn check(&self) -> Result<(), WrongOption> {
        let rates = match self.rate {
            MaskRate::Fixed(rate) => vec![("masking.rate", rate)],
            MaskRate::Scheduled(s) => {
                vec![("masking.rate.from", s.from), ("masking.rate.to", s.to)]
            }
        };
        for (key, rate) in rates {
            require(
                rate > 0.0 && rate < 1.0,
                key,
                "is a share of the tokens: expected more than 0 and less than 1",
            )?;
        }
        for (key, share) in [
            ("masking.replace", self.replace),
            ("masking.random", self.random),
            ("masking.keep", self.keep),
        ] {
            require(
                (0.0..=1.0).contains(&share),
                key,
                "is a share of the masked tokens: expected 0 to 1",
            )?;
        }
        let sum = self.replace + self.random + self.keep;
        require(
            (sum - 1.0).abs() < 1e-4,
            "masking",
            "replace, random and keep should add up to 1",
        )
    }
}

impl Mlm {
    /// Its name in the run file.
    pub const NAME: &'static str = "mlm";
}

impl Default for Mlm {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            packing: false,
            masking: Masking::default(),
        }
    }
}

impl Objective for Mlm {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "masked tokens"
    }

    fn labels(&self) -> Labels {
        Labels::None
    }

    fn head(&self) -> Option<Head> {
        Some(Head::MaskedLm)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn scoring(&self, max_len: usize, _: Problem) -> Option<AnyObjective> {
        let scoring = Mlm {
            max_len,
            packing: true,
            ..Mlm::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        self.masking.check()
    }
}

impl MlmNsp {
    /// Its name in the run file.
    pub const NAME: &'static str = "mlm_nsp";
}

impl Default for MlmNsp {
    fn default() -> Self {
        Self {
            max_len: LENGTH,
            masking: Masking::default(),
        }
    }
}

impl Objective for MlmNsp {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "masked tokens, and whether one text follows the other"
    }

    fn labels(&self) -> Labels {
        Labels::None
    }

    fn head(&self) -> Option<Head> {
        Some(Head::NextSentence)
    }

    fn length(&self) -> usize {
        self.max_len
    }

    fn scoring(&self, max_len: usize, _: Problem) -> Option<AnyObjective> {
        let scoring = MlmNsp {
            max_len,
            ..MlmNsp::default()
        };
        Some(scoring.into())
    }

    fn check(&self) -> Result<(), WrongOption> {
        check_length("max_len", self.max_len)?;
        self.masking.check()
    }
}
