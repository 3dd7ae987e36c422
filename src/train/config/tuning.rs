//! What a transformer's stage adds to a run file: masking, what is trained and how fast, LoRA.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// How tokens are masked for objectives "mlm" and "mlm_nsp"; the defaults are BERT's.
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

/// What a label is: transformers' `problem_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// One class of several.
    #[default]
    SingleLabel,
    /// Any number of classes, separated by commas in the label column.
    MultiLabel,
    /// A number.
    Regression,
}

/// How often one more layer is trained, from the top down (Howard & Ruder 2018, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnfreezeEvery {
    /// After so many passes over the data.
    Epochs(f64),
    /// After so many steps.
    Steps(u64),
}

/// A low-rank adapter (Hu et al. 2021), with PEFT's options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// r.
    pub rank: usize,
    /// The update is scaled by alpha / r.
    pub alpha: f64,
    /// Probability of dropping units of the adapter's input.
    pub dropout: f64,
    /// The layers that get an adapter: endings of their names, or one regex for the whole name.
    pub targets: Targets,
    /// Other ranks, by an ending of the layer's name or a regex.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas, likewise.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Scale by alpha / √r (Kalajdzievski 2023).
    pub rslora: bool,
    /// Layers that are trained whole and saved with the adapter; a new head always is.
    pub modules_to_save: Vec<String>,
    /// Which of q, k and v an adapter on GPT-2's `c_attn` acts on, as "qv"; absent: all.
    pub rows: Option<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            targets: Targets::default(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            rslora: false,
            modules_to_save: Vec::new(),
            rows: None,
        }
    }
}

/// Layers by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Targets {
    /// Endings of names, at a dot. Empty: query and value of BERT, c_attn of GPT-2, as in PEFT.
    Endings(Vec<String>),
    /// A regular expression for the whole name.
    Regex(String),
}

impl Default for Targets {
    fn default() -> Self {
        Self::Endings(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names or a regex")
            }

            fn visit_str<E: de::Error>(self, regex: &str) -> Result<Targets, E> {
                Ok(Targets::Regex(regex.to_string()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Targets, A::Error> {
                let mut endings = Vec::new();
                while let Some(ending) = seq.next_element()? {
                    endings.push(ending);
                }
                Ok(Targets::Endings(endings))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
