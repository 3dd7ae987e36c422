//! GPT-2 (Radford et al. 2019), with the parameter names and the values of transformers'
//! `GPT2Model`.

mod config;
#[cfg(feature = "train")]
mod family;
#[cfg(feature = "train")]
mod gguf;

pub use config::Gpt2Config;
#[cfg(feature = "train")]
pub use family::GPT2;

use super::decoder::{DecoderClassifier, DecoderLayer, DecoderLayers, DecoderLm, Place, Stack};
use super::network::Network;
use crate::error::{Error, Result};
use crate::nn::{
    FeedForward, LayerNorm, LinearShape, Param, PreNormBlock, Projections, Segments, SelfAttention,
    Vars, Wanted, first_rows,
};
use crate::ops::{self, AttentionOptions, TokenIds, WeightLayout};
use crate::tensor::{Depth, Init, Tape, Tensor};

/// The embeddings and the layers.
pub struct Gpt2 {
    words: Param,
    positions: Param,
    dropout: f32,
    layers: Stack<PreNormBlock>,
    norm: LayerNorm,
    width: usize,
    longest: usize,
}

impl Gpt2 {
    /// Declares the layers under transformers' names, which begin with `transformer.` in a model with
    /// a head.
    ///
    /// # Errors
    /// [`Error::ModelConfig`]; those of [`Vars::param`].
    pub fn new(v: &Vars, config: &Gpt2Config) -> Result<Gpt2> {
        config.validate()?;
        let width = config.n_embd;
        let embeddings = v.depth(Depth::Embeddings);
        let table = |name: &str, rows| {
            let init = Init::Normal(config.initializer_range);
            Ok::<Param, Error>(embeddings.embedding(name, rows, width, init)?.weight)
        };
        let (words, positions) = (
            table("wte", config.vocab_size)?,
            table("wpe", config.n_positions)?,
        );
        v.module("drop");
        let layers = v.at("h");
        let layer = |n: usize| layer(&layers.at(n).depth(Depth::Layer(n)), config, n);
        Ok(Gpt2 {
            words,
            positions,
            dropout: config.embd_pdrop,
            layers: Stack::new(config.n_layer, layer)?,
            norm: v.layer_norm("ln_f", width, config.layer_norm_epsilon)?,
            width,
            longest: config.n_positions,
        })
    }
}

/// Layer `index`, declared under `v`.
fn layer(v: &Vars, config: &Gpt2Config, index: usize) -> Result<PreNormBlock> {
    let (width, inner) = (config.n_embd, config.inner());
    let range = config.initializer_range;
    // Each layer adds two results to the residual: so many that their sum keeps its size
    // (Radford et al. 2019, section 2.3).
    let residual = range / ((2 * config.n_layer) as f32).sqrt();
    let conv = |name: &str, inputs, outputs, std| {
        let shape = LinearShape {
            layout: WeightLayout::InOut,
            ..LinearShape::new(inputs, outputs).normal(std)
        };
        v.linear_of(name, shape)
    };
    let norm = |name: &str| v.layer_norm(name, width, config.layer_norm_epsilon);
    let attention_norm = norm("ln_1")?;
    let attention = SelfAttention {
        projections: Projections::Joint(Box::new(conv("attn.c_attn", width, 3 * width, range)?)),
        output: conv("attn.c_proj", width, width, residual)?,
        options: AttentionOptions {
            causal: true,
            dropout: config.attn_pdrop,
            scale: Some(config.attention_scale(index)),
            ..AttentionOptions::new(config.n_head)
        },
    };
    let feed_forward_norm = norm("ln_2")?;
    let feed_forward = FeedForward {
        up: conv("mlp.c_fc", width, inner, range)?,
        act: config.activation_function,
        down: conv("mlp.c_proj", inner, width, residual)?,
    };
    for part in [
        "attn.attn_dropout",
        "attn.resid_dropout",
        "mlp.act",
        "mlp.dropout",
    ] {
        v.module(part);
    }
    Ok(PreNormBlock {
        attention_norm,
        attention,
        feed_forward_norm,
        feed_forward,
        dropout: config.resid_pdrop,
    })
}

/// No encoder for others: a vector that has not seen what follows its token says little of a text.
impl Network for Gpt2 {
    fn set_checkpointing(&mut self, on: bool) {
        self.layers.checkpointing = on;
    }
}

impl DecoderLayers for Gpt2 {
    type Layer = PreNormBlock;

    fn words(&self) -> &Param {
        &self.words
    }

    fn positions(&self) -> usize {
        self.longest
    }

    fn kept(&self) -> usize {
        self.width
    }

    fn stack(&self) -> &Stack<PreNormBlock> {
        &self.layers
    }

    fn embed(&self, tape: &Tape, ids: &TokenIds, segments: Option<&Segments>) -> Result<Tensor> {
        let [_, steps] = ids.ids().dims2("gpt2", "ids")?;
        let words = ops::embedding(tape, &self.words.get()?, ids)?;
        let positions = self.positions.get()?;
        let positions = match segments {
            Some(segments) => ops::embedding(tape, &positions, &segments.positions)?,
            None => first_rows(&positions, steps)?,
        };
        let sum = ops::add(tape, &words, &positions)?;
        ops::dropout(tape, &sum, self.dropout)
    }

    fn embed_at(&self, tape: &Tape, place: &Place) -> Result<Tensor> {
        let words = ops::embedding(tape, &self.words.get()?, &place.ids)?;
        let positions = ops::embedding(tape, &self.positions.get()?, &place.positions)?;
        ops::add(tape, &words, &positions)
    }

    fn normalise(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        Ok(self.norm.forward(tape, x, None)?.y)
    }
}

impl DecoderLayer for PreNormBlock {
    fn read(
        &self,
        tape: &Tape,
        x: &Tensor,
        place: &Place,
        (keys, values): &(Tensor, Tensor),
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let Projections::Joint(c_attn) = &self.attention.projections else {
            let (value, expected) = ("queries, keys and values apart", "GPT-2's joint projection");
            return Err(Error::argument("generate", "layer", value, expected));
        };
        let width = x.shape().last();
        let normed = self.attention_norm.forward(tape, x, None)?.y;
        let qkv = c_attn.forward(tape, &normed)?;
        ops::cache_append(&qkv, width, &place.starts, keys)?;
        ops::cache_append(&qkv, 2 * width, &place.starts, values)?;
        let q = ops::columns(tape, &qkv, 0, width)?;
        let lens = Some(&place.lens);
        let context = ops::attention(tape, &q, keys, values, lens, &self.attention.options)?;
        let context = wanted.of(tape, &context)?;
        let a = self.attention.output.forward(tape, &context)?;
        self.finish(tape, &wanted.of(tape, x)?, &a)
    }
}

/// Predicts every next token (`GPT2LMHeadModel`).
pub type Gpt2LmHead = DecoderLm<Gpt2>;

/// Classifies whole sequences by their last token, or predicts numbers from it
/// (`GPT2ForSequenceClassification`).
pub type Gpt2ForSequenceClassification = DecoderClassifier<Gpt2>;

/// The layers, declared under `transformer.`.
fn gpt2(v: &Vars, config: &Gpt2Config) -> Result<Gpt2> {
    Gpt2::new(&v.at("transformer").depth(Depth::Top), config)
}

/// Declares the language model.
///
/// # Errors
/// As [`Gpt2::new`].
pub fn gpt2_lm(v: &Vars, config: &Gpt2Config) -> Result<Gpt2LmHead> {
    let shape = [config.vocab_size, config.n_embd];
    let own =
        (!config.tie_word_embeddings).then_some((shape, Init::Normal(config.initializer_range)));
    DecoderLm::new(v, gpt2(v, config)?, own, None)
}

/// Declares the classifier.
///
/// # Errors
/// As [`Gpt2::new`].
pub fn gpt2_classifier(v: &Vars, config: &Gpt2Config) -> Result<Gpt2ForSequenceClassification> {
    let shape = LinearShape::new(config.n_embd, config.labels.count());
    DecoderClassifier::new(v, gpt2(v, config)?, shape.normal(config.initializer_range))
}
