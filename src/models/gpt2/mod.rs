//! GPT-2 (Radford et al. 2019), with the parameter names and the values of transformers'
//! `GPT2Model`.

mod cache;
mod config;
#[cfg(feature = "train")]
mod family;
#[cfg(feature = "train")]
mod gguf;
mod heads;

use std::sync::Arc;

pub use cache::{Gpt2Cache, Gpt2Step};
pub use config::Gpt2Config;
#[cfg(feature = "train")]
pub use family::GPT2;
pub use heads::{Gpt2ForSequenceClassification, Gpt2LmHead};

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
            checkpointing: false,
        })
    }

    /// The word embeddings (V, C), which the language model's output layer shares.
    pub fn words(&self) -> &Param {
        &self.words
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

    /// The last layer's output, normalised (B, T, C), or only the wanted rows of it, for ids (B, T)
    /// padded on the right: no token sees what follows it, so padding changes nothing before it.
    ///
    /// # Errors
    /// [`Error::Shape`] for a sequence longer than there are positions.
    pub fn forward(&self, tape: &Tape, ids: &TokenIds, wanted: &Wanted) -> Result<Tensor> {
        let embedded = self.embed(tape, ids)?;
        let last = (0..self.layers.len()).try_fold(embedded, |x, l| {
            let wanted = wanted.of_layer(l, self.layers.len());
            self.layer(tape, l, &x, wanted)
        })?;
        Ok(self.norm.forward(tape, &last, None)?.y)
    }

    /// As transformers' `hidden_states`: the embeddings and every layer's output, (B, T, C) each,
    /// the last normalised.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
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
            heads: config.n_head,
            causal: true,
            dropout: config.attn_pdrop,
            scale: Some(config.attention_scale(index)),
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
