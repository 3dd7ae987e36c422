//! DistilBERT (Sanh et al. 2019), with the parameter names and the values of transformers'
//! `DistilBertModel`: BERT without segments and without a pooler.

mod config;
#[cfg(feature = "train")]
mod family;
mod heads;

use std::sync::Arc;

pub use config::DistilBertConfig;
#[cfg(feature = "train")]
pub use family::DISTILBERT;
pub use heads::{classifier, masked_lm, tagger};

use super::encoder::TextEncoder;
use crate::error::{Error, Result};
use crate::nn::{
    FeedForward, Linear, LinearShape, Param, PostNormBlock, Projections, SelfAttention, Vars,
};
use crate::ops::AttentionOptions;
use crate::tensor::{Depth, Init};

/// Added to the variance that a norm divides by.
const NORM_EPS: f32 = 1e-12;

/// Declares an encoder under transformers' names, which begin with `distilbert.` in a model with a
/// head.
///
/// # Errors
/// [`Error::ModelConfig`]; those of [`Vars::param`].
pub fn encoder(v: &Vars, config: &DistilBertConfig) -> Result<TextEncoder> {
    config.validate()?;
    let width = config.dim;
    let embeddings = v.at("embeddings").depth(Depth::Embeddings);
    let table = |name: &str, rows| {
        let init = Init::Normal(config.initializer_range);
        Ok::<Param, Error>(embeddings.embedding(name, rows, width, init)?.weight)
    };
    let words = table("word_embeddings", config.vocab_size)?;
    let positions = table("position_embeddings", config.max_position_embeddings)?;
    let norm = embeddings.layer_norm("LayerNorm", width, NORM_EPS)?;
    embeddings.module("dropout");
    let layers = v.at("transformer.layer");
    let layer = |n: usize| layer(&layers.at(n).depth(Depth::Layer(n)), config);
    Ok(TextEncoder {
        width,
        words,
        positions,
        first_position: 0,
        segments: None,
        norm,
        dropout: config.dropout,
        layers: (0..config.n_layers)
            .map(|n| layer(n).map(Arc::new))
            .collect::<Result<_>>()?,
        checkpointing: false,
    })
}

/// One layer, declared under `v`.
fn layer(v: &Vars, config: &DistilBertConfig) -> Result<PostNormBlock> {
    let (width, inner) = (config.dim, config.hidden_dim);
    let own = v.at("attention");
    let project = |name: &str| linear(&own, config, name, width, width);
    let attention = SelfAttention {
        projections: Projections::Apart(Box::new([
            project("q_lin")?,
            project("k_lin")?,
            project("v_lin")?,
        ])),
        output: project("out_lin")?,
        options: AttentionOptions {
            dropout: config.attention_dropout,
            ..AttentionOptions::new(config.n_heads)
        },
    };
    own.module("dropout");
    let attention_norm = v.layer_norm("sa_layer_norm", width, NORM_EPS)?;
    let ffn = v.at("ffn");
    ffn.module("dropout");
    let feed_forward = FeedForward {
        up: linear(&ffn, config, "lin1", width, inner)?,
        act: config.activation,
        down: linear(&ffn, config, "lin2", inner, width)?,
    };
    ffn.module("activation");
    Ok(PostNormBlock {
        attention,
        attention_norm,
        feed_forward,
        output_norm: v.layer_norm("output_layer_norm", width, NORM_EPS)?,
        // Attention's result is not dropped.
        dropouts: [0.0, config.dropout],
    })
}

fn linear(
    v: &Vars,
    config: &DistilBertConfig,
    name: &str,
    inputs: usize,
    outputs: usize,
) -> Result<Linear> {
    let std = config.initializer_range;
    v.linear_of(name, LinearShape::new(inputs, outputs).normal(std))
}
