//! GPT-2 (Radford et al. 2019), with the parameter names and the values of transformers'
//! `GPT2Model`.

mod config;
#[cfg(feature = "train")]
mod family;
#[cfg(feature = "train")]
mod gguf;

use std::sync::Arc;

pub use config::Gpt2Config;
#[cfg(feature = "train")]
pub use family::GPT2;

use super::decoder::{DecoderClassifier, DecoderLayers, DecoderLm, KeyValueCache, Place};
use super::network::Network;
use crate::error::{Error, Result};
use crate::nn::{
    FeedForward, LayerNorm, LinearShape, Param, PreNormBlock, Projections, SelfAttention, Vars,
    Wanted, first_rows,
};
use crate::ops::{self, AttentionOptions, TokenIds, WeightLayout};
use crate::tensor::{Depth, Init, Tape, Tensor};

/// The embeddings and the layers.
pub struct Gpt2 {
    words: Param,
    positions: Param,
    dropout: f32,
    layers: Vec<Arc<PreNormBlock>>,
    norm: LayerNorm,
    width: usize,
    longest: usize,
    /// Whether layers are computed again on the way back instead of kept.
    pub checkpointing: bool,
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
            layers: (0..config.n_layer)
                .map(|n| layer(n).map(Arc::new))
                .collect::<Result<_>>()?,
            norm: v.layer_norm("ln_f", width, config.layer_norm_epsilon)?,
            width,
            longest: config.n_positions,
            checkpointing: false,
        })
    }

    /// The sum of the embeddings (B, T, C).
    fn embed(&self, tape: &Tape, ids: &TokenIds) -> Result<Tensor> {
        let [_, steps] = ids.ids().dims2("gpt2", "ids")?;
        let (words, positions) = (self.words.get()?, self.positions.get()?);
        let most = positions.dims()[0];
        if steps > most {
            return Err(Error::Shape {
                op: "gpt2",
                arg: "ids",
                expected: format!("(B, T) with T <= {most}, as n_positions says"),
                found: ids.ids().shape().to_string(),
            });
        }
        let words = ops::embedding(tape, &words, ids)?;
        let sum = ops::add(tape, &words, &first_rows(&positions, steps)?)?;
        ops::dropout(tape, &sum, self.dropout)
    }

    fn layer(&self, tape: &Tape, index: usize, x: &Tensor, wanted: &Wanted) -> Result<Tensor> {
        let layer = &self.layers[index];
        if !self.checkpointing {
            return layer.forward(tape, x, wanted);
        }
        let (layer, wanted) = (layer.clone(), wanted.clone());
        tape.checkpoint(&[x], move |tape, x| layer.forward(tape, &x[0], &wanted))
    }

    /// As transformers' `hidden_states`: the embeddings and every layer's output, (B, T, C) each,
    /// the last normalised.
    ///
    /// # Errors
    /// As [`DecoderLayers::forward`].
    pub fn hidden_states(&self, tape: &Tape, ids: &TokenIds) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(tape, ids)?];
        for index in 0..self.layers.len() {
            states.push(self.layer(tape, index, &states[index], &Wanted::All)?);
        }
        if let Some(last) = states.last_mut() {
            *last = self.norm.forward(tape, last, None)?.y;
        }
        Ok(states)
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
        self.checkpointing = on;
    }
}

impl DecoderLayers for Gpt2 {
    fn words(&self) -> &Param {
        &self.words
    }

    fn positions(&self) -> usize {
        self.longest
    }

    fn kept(&self) -> Vec<usize> {
        vec![self.width; self.layers.len()]
    }

    fn forward(&self, tape: &Tape, ids: &TokenIds, wanted: &Wanted) -> Result<Tensor> {
        let embedded = self.embed(tape, ids)?;
        let last = (0..self.layers.len()).try_fold(embedded, |x, l| {
            let wanted = wanted.of_layer(l, self.layers.len());
            self.layer(tape, l, &x, wanted)
        })?;
        Ok(self.norm.forward(tape, &last, None)?.y)
    }

    fn read(
        &self,
        tape: &Tape,
        place: &Place,
        cache: &KeyValueCache,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let words = ops::embedding(tape, &self.words.get()?, &place.ids)?;
        let positions = ops::embedding(tape, &self.positions.get()?, &place.positions)?;
        let mut x = ops::add(tape, &words, &positions)?;
        for (index, (layer, kept)) in self.layers.iter().zip(cache.layers()).enumerate() {
            let wanted = wanted.of_layer(index, self.layers.len());
            x = read_layer(tape, layer, &x, place, kept, wanted)?;
        }
        Ok(self.norm.forward(tape, &x, None)?.y)
    }
}

fn read_layer(
    tape: &Tape,
    layer: &PreNormBlock,
    x: &Tensor,
    place: &Place,
    (keys, values): &(Tensor, Tensor),
    wanted: &Wanted,
) -> Result<Tensor> {
    let Projections::Joint(c_attn) = &layer.attention.projections else {
        let (value, expected) = ("queries, keys and values apart", "GPT-2's joint projection");
        return Err(Error::argument("generate", "layer", value, expected));
    };
    let width = x.shape().last();
    let normed = layer.attention_norm.forward(tape, x, None)?.y;
    let qkv = c_attn.forward(tape, &normed)?;
    ops::cache_append(&qkv, width, &place.starts, keys)?;
    ops::cache_append(&qkv, 2 * width, &place.starts, values)?;
    let q = ops::columns(tape, &qkv, 0, width)?;
    let options = &layer.attention.options;
    let context = ops::attention(tape, &q, keys, values, Some(&place.lens), options)?;
    let context = wanted.of(tape, &context)?;
    let a = layer.attention.output.forward(tape, &context)?;
    layer.finish(tape, &wanted.of(tape, x)?, &a)
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
