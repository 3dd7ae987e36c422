//! Families of models: each a folder of this one, which announces itself by a value in [`FAMILIES`].
//! Nobody else names a family.

use std::fmt::Debug;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::Table;

use super::bert::BERT;
use super::convnet::CONVNET;
use super::distilbert::DISTILBERT;
use super::gpt2::GPT2;
use super::llama::{GEMMA, GEMMA2, GEMMA3, LLAMA, MISTRAL, PHI3, QWEN2, QWEN3};
use super::lstm::LSTM_FAMILY;
use super::mlp::MLP;
use super::network::Network;
use super::resnet::RESNET;
use super::roberta::{ROBERTA, XLM_ROBERTA};
use super::{ImageSize, Labels};
use crate::error::{Error, Result};
use crate::hub::{self, Architecture, Format, Head};
use crate::nn::{HiddenAct, Vars};
use crate::schema::{self, Fault};
use crate::tensor::ParamSpec;
use crate::text::Keep;
use crate::text::tokenizer::Family as Specials;

/// All families.
pub static FAMILIES: &[&dyn Family] = &[
    &BERT,
    &CONVNET,
    &DISTILBERT,
    &GEMMA,
    &GEMMA2,
    &GEMMA3,
    &GPT2,
    &LLAMA,
    &LSTM_FAMILY,
    &MISTRAL,
    &MLP,
    &PHI3,
    &QWEN2,
    &QWEN3,
    &RESNET,
    &ROBERTA,
    &XLM_ROBERTA,
];

/// A family of models.
pub trait Family: Sync {
    /// Its name in sentences.
    fn title(&self) -> &'static str;

    /// One of its models, in sentences.
    fn one(&self) -> String {
        format!("a {}", self.title())
    }

    /// The special tokens of a tokeniser that is trained for it; what reads pictures has no use for any.
    fn specials(&self) -> Specials {
        Specials::Lstm
    }

    /// How its models lie in files, and which heads it has.
    fn format(&self) -> &'static Format;

    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] when a field has the wrong type or value.
    fn read(&self, json: &Value) -> Result<Box<dyn Config>>;

    /// A model of these sizes, with the family's own values for everything else; `None` for one whose
    /// sizes are not a transformer's.
    fn sized(&self, _sizes: &Sizes) -> Option<Box<dyn Config>> {
        None
    }

    /// What a run file may say of its models, where they read pictures.
    fn pictures(&self) -> Option<PictureModel> {
        None
    }

    /// Whether weight decay holds for a parameter: as in transformers, for all but biases and norms.
    fn decays(&self, spec: &ParamSpec) -> bool {
        spec.shape.0.len() > 1
    }
}

/// `[model]` of a run file, for a family that reads pictures.
#[derive(Debug, Clone, Copy)]
pub struct PictureModel {
    /// Its `kind`.
    pub kind: &'static str,
    pub(crate) keys: fn() -> &'static [&'static str],
    pub(crate) read: fn(Table) -> Result<Box<dyn Config>, Fault>,
}

impl PictureModel {
    /// `T` has a field for each key; what is not said is as in `T`'s default.
    pub(super) fn of<T, C>(kind: &'static str) -> PictureModel
    where
        T: DeserializeOwned + Default + Into<C>,
        C: Config + 'static,
    {
        PictureModel {
            kind,
            keys: || schema::keys(T::deserialize),
            read: |table| Ok(Box::new(schema::read::<T>(table)?.into())),
        }
    }
}

/// The pictures that a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureShape {
    /// Their size; `None`: any.
    pub size: Option<ImageSize>,
    /// Numbers of a pixel: 1 where it is grey, 3 for red, green and blue.
    pub channels: usize,
}

/// What a model reads, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// As rows, in a frame of special tokens: (B, T).
    Rows,
    /// Step by step, without a frame: (T, B).
    Steps {
        /// Probability of dropping a word of the input in training.
        word_dropout: f32,
        /// Whether a classifier learns from the state after every token, with a weight that rises.
        linear_gain: bool,
    },
    /// Pictures: (N, H, W, C).
    Pictures(PictureShape),
}

/// How long texts are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Tokens that are read.
    pub length: usize,
    /// The end of a longer text that they are.
    pub kept_end: Keep,
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
    /// Numbers that are kept of each token beside the layers'.
    pub base: usize,
    /// Numbers that a layer keeps of each token for the way back.
    pub layer: usize,
    /// Those of them that it keeps where it is computed again on the way back, if it can be.
    pub recomputed: Option<usize>,
    /// Width of the widest result.
    pub widest: usize,
}

impl Extent {
    /// That of a transformer: the widths of a token's vector, of the feed-forward part and of the
    /// widest result of attention's first layers.
    pub(super) fn transformer(
        layers: usize,
        width: usize,
        inner: usize,
        projections: usize,
    ) -> Extent {
        Extent {
            layers,
            base: 3 * width,
            // Its input, q, k, v and their mean, two normalised sums and their sources, the
            // feed-forward part before and after its function. Scores of attention and logits are
            // never kept.
            layer: 11 * width + 2 * inner,
            recomputed: Some(width),
            widest: inner.max(projections),
        }
    }
}

/// One model's configuration: what stands in its `config.json`.
pub trait Config: Boxed + Debug + Send + Sync {
    /// Its family.
    fn family(&self) -> &'static dyn Family;

    /// As `config.json`.
    fn to_json(&self) -> Value;

    /// Rows of the word embedding; what reads no text has room for every word.
    fn vocab_size(&self) -> usize {
        usize::MAX
    }

    /// Longest sequence.
    fn positions(&self) -> usize {
        usize::MAX
    }

    /// Its sizes.
    fn extent(&self) -> Extent;

    /// What it reads, and how.
    fn reading(&self) -> Reading {
        Reading::Rows
    }

    /// How it cut texts off when it was trained, where it says so.
    fn cut(&self) -> Option<Cut> {
        None
    }

    /// Notes what it is trained for, where its `config.json` has a place for that.
    fn set_trained(&mut self, _head: Head, _cut: Cut) {}

    /// The tokens before and after a text, where it has its own.
    fn ends(&self) -> [Option<u32>; 2] {
        [None; 2]
    }

    /// What its outputs are called.
    fn labels(&self) -> &Labels;

    /// Calls its outputs so.
    fn set_labels(&mut self, labels: Labels);

    /// Takes pictures of this shape from now on; what reads texts has no use for it.
    ///
    /// # Errors
    /// [`Error::ModelConfig`] for pictures that its layers cannot read.
    fn set_pictures(&mut self, _shape: PictureShape) -> Result<()> {
        Ok(())
    }

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
}

/// A configuration that can be copied; nothing implements it by hand.
pub trait Boxed {
    /// A copy.
    fn boxed(&self) -> Box<dyn Config>;
}

impl<C: Config + Clone + 'static> Boxed for C {
    fn boxed(&self) -> Box<dyn Config> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Config> {
    fn clone(&self) -> Self {
        (**self).boxed()
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

/// The configuration in a folder's `config.json` or a GGUF file, of the family that it names, or whose class.
///
/// # Errors
/// [`Error::Folder`] for another kind of model, or when a field has the wrong type or value.
pub fn read_config(config: &Value, folder: &Path) -> Result<Box<dyn Config>> {
    let place = || match folder.is_file() {
        true => folder.to_path_buf(),
        false => folder.join(hub::CONFIG),
    };
    let class = || architecture(config["architectures"][0].as_str()?).ok();
    let kind = config["model_type"].as_str();
    let kind = kind.or_else(|| Some(class()?.format.model_type));
    let family = FAMILIES
        .iter()
        .find(|f| Some(f.format().model_type) == kind);
    let Some(family) = family else {
        let known: Vec<String> = formats()
            .iter()
            .map(|f| format!("'{}'", f.model_type))
            .collect();
        let kind = kind.map_or("not given".into(), |t| format!("'{t}'"));
        let problem = format!("model_type is {kind}, expected {}", known.join(" or "));
        return Err(Error::folder(place(), problem));
    };
    let mut config = config.clone();
    hub::without_quantisation(&mut config);
    family.read(&config).map_err(|error| match error {
        Error::ModelConfig { field, message } => {
            Error::folder(place(), format!("{field} {message}"))
        }
        other => other,
    })
}
