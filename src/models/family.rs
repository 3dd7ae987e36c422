//! Families of models: each a folder of this one, which announces itself by a value in [`FAMILIES`].
//! Nobody else names a family.

use std::fmt::Debug;
use std::path::Path;

use serde_json::Value;

use super::Labels;
use super::bert::BERT;
use super::distilbert::DISTILBERT;
use super::gpt2::GPT2;
use super::network::Network;
use super::roberta::{ROBERTA, XLM_ROBERTA};
use crate::error::{Error, Result};
use crate::hub::{Architecture, Format, Head};
use crate::nn::{HiddenAct, Vars};
use crate::text::tokenizer::Family as Specials;

/// All families.
pub static FAMILIES: &[&dyn Family] = &[&BERT, &DISTILBERT, &GPT2, &ROBERTA, &XLM_ROBERTA];

/// A family of models.
pub trait Family: Sync {
    /// Its name in sentences.
    fn title(&self) -> &'static str;

    /// The special tokens of a tokeniser that is trained for it.
    fn specials(&self) -> Specials;

    /// How its models lie in files, and which heads it has.
    fn format(&self) -> &'static Format;

    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] when a field has the wrong type or value.
    fn read(&self, json: &Value) -> Result<Box<dyn Config>>;

    /// A model of these sizes, with the family's own values for everything else.
    fn sized(&self, sizes: &Sizes) -> Box<dyn Config>;
}

/// The sizes and probabilities that all transformers have.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// Tokens (V).
    pub vocabulary: usize,
    /// Width of a token's vector (C).
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Width of the feed-forward part; `None`: 4·C.
    pub feed_forward: Option<usize>,
    /// Longest sequence.
    pub positions: usize,
    /// The feed-forward part's function; `None`: the family's own.
    pub activation: Option<HiddenAct>,
    /// Added to the variance that a norm divides by; `None`: the family's own.
    pub norm_eps: Option<f32>,
    /// Probabilities of dropping.
    pub dropout: Dropouts,
    /// The padding token.
    pub pad: Option<u32>,
    /// The token before a text.
    pub begin: Option<u32>,
    /// The token after a text.
    pub end: Option<u32>,
}

/// Probabilities of dropping; `None`: as the model has it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dropouts {
    /// Units of embeddings and of each part's output.
    pub hidden: Option<f32>,
    /// Attention weights.
    pub attention: Option<f32>,
    /// Units before a classifier's output layer.
    pub classifier: Option<f32>,
}

/// What the memory of a model's activations follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Layers.
    pub layers: usize,
    /// Width of a token's vector.
    pub width: usize,
    /// Width of the feed-forward part.
    pub inner: usize,
    /// Width of the widest result of attention's first layers.
    pub projections: usize,
}

/// One model's configuration: what stands in its `config.json`.
pub trait Config: Debug + Send + Sync {
    /// Its family.
    fn family(&self) -> &'static dyn Family;

    /// As `config.json`.
    fn to_json(&self) -> Value;

    /// Rows of the word embedding.
    fn vocab_size(&self) -> usize;

    /// Longest sequence.
    fn positions(&self) -> usize;

    /// Its sizes.
    fn extent(&self) -> Extent;

    /// The tokens before and after a text, where it has its own.
    fn ends(&self) -> [Option<u32>; 2] {
        [None; 2]
    }

    /// What its outputs are called.
    fn labels(&self) -> &Labels;

    /// Calls its outputs so.
    fn set_labels(&mut self, labels: Labels);

    /// Names the token that fills batches, where the model must know it: GPT-2's classifier looks for
    /// the last token that is not this one.
    fn set_padding(&mut self, _pad: u32) {}

    /// Takes over those probabilities that are given.
    fn set_dropouts(&mut self, dropouts: &Dropouts);

    /// Declares the model with a head.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] for sizes that cannot be, or a head that the family does not have.
    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>>;

    /// A copy.
    fn boxed(&self) -> Box<dyn Config>;
}

impl Clone for Box<dyn Config> {
    fn clone(&self) -> Self {
        self.boxed()
    }
}

/// The formats of all families.
pub fn formats() -> Vec<&'static Format> {
    FAMILIES.iter().map(|family| family.format()).collect()
}

/// The class of that name, of any family.
///
/// # Errors
/// [`Error::UnknownName`].
pub fn architecture(name: &str) -> Result<Architecture> {
    Architecture::named(name, &formats())
}

/// The configuration in a folder's `config.json`.
///
/// # Errors
/// [`Error::Folder`] for another kind of model, [`Error::ModelConfig`].
pub fn read_config(config: &Value, folder: &Path) -> Result<Box<dyn Config>> {
    let kind = config["model_type"].as_str();
    let family = FAMILIES
        .iter()
        .find(|f| Some(f.format().model_type) == kind);
    let Some(family) = family else {
        let known: Vec<String> = formats()
            .iter()
            .map(|f| format!("'{}'", f.model_type))
            .collect();
        return Err(Error::Folder {
            path: folder.join("config.json"),
            problem: format!(
                "model_type is {}, expected {}",
                kind.map_or("not given".into(), |t| format!("'{t}'")),
                known.join(" or ")
            ),
        });
    };
    family.read(config)
}
