//! BERT (Devlin et al. 2019), with the parameter names and the values of transformers' `BertModel`.

mod config;
#[cfg(feature = "train")]
mod family;
mod heads;

use std::sync::Arc;

pub use config::BertConfig;
#[cfg(feature = "train")]
pub use family::BERT;
pub use heads::{BertForPreTraining, classifier, masked_lm, pooled, tagger};
pub(super) use heads::{decoder, labels, linear, pooler};

use super::encoder::{Segments, TextEncoder};
use crate::error::{Error, Result};
use crate::nn::{FeedForward, Param, PostNormBlock, Projections, SelfAttention, Vars};
use crate::ops::AttentionOptions;
use crate::tensor::{Depth, Init};

/// Declares an encoder under transformers' names, which begin with `bert.` in a model with a head.
///
/// # Errors
/// [`Error::ModelConfig`]; those of [`Vars::param`].
pub fn encoder(v: &Vars, config: &BertConfig) -> Result<TextEncoder> {
    config.validate()?;
    let (width, eps) = (config.hidden_size, config.layer_norm_eps);
    let embeddings = v.at("embeddings").depth(Depth::Embeddings);
    let table = |name: &str, rows| {
        let init = Init::Normal(config.initializer_range);
        Ok::<Param, Error>(embeddings.embedding(name, rows, width, init)?.weight)
    };
    let words = table("word_embeddings", config.vocab_size)?;
    let positions = table("position_embeddings", config.max_position_embeddings)?;
    let segments = Segments {
        table: table("token_type_embeddings", config.type_vocab_size)?,
        told: true,
    };
    let norm = embeddings.layer_norm("LayerNorm", width, eps)?;
    embeddings.module("dropout");
    let layers = v.at("encoder.layer");
    let layer = |n: usize| layer(&layers.at(n).depth(Depth::Layer(n)), config);
    Ok(TextEncoder {
        width,
        words,
        positions,
        first_position: 0,
        segments: Some(segments),
        norm,
        dropout: config.hidden_dropout_prob,
        layers: (0..config.num_hidden_layers)
            .map(|n| layer(n).map(Arc::new))
            .collect::<Result<_>>()?,
        checkpointing: false,
    })
}

/// One layer, declared under `v`.
fn layer(v: &Vars, config: &BertConfig) -> Result<PostNormBlock> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let linear = |v: &Vars, name: &str, inputs, outputs| linear(v, config, name, inputs, outputs);
    let norm = |v: &Vars| v.layer_norm("LayerNorm", width, config.layer_norm_eps);
    let (own, result) = (v.at("attention.self"), v.at("attention.output"));
    let project = |name: &str| linear(&own, name, width, width);
    let attention = SelfAttention {
        projections: Projections::Apart(Box::new([
            project("query")?,
            project("key")?,
            project("value")?,
        ])),
        output: linear(&result, "dense", width, width)?,
        options: AttentionOptions {
            dropout: config.attention_probs_dropout_prob,
            ..AttentionOptions::new(config.num_attention_heads)
        },
    };
    own.module("dropout");
    let attention_norm = norm(&result)?;
    result.module("dropout");
    let feed_forward = FeedForward {
        up: linear(&v.at("intermediate"), "dense", width, inner)?,
        act: config.hidden_act,
        down: linear(&v.at("output"), "dense", inner, width)?,
    };
    v.module("intermediate.intermediate_act_fn");
    let output_norm = norm(&v.at("output"))?;
    v.module("output.dropout");
    Ok(PostNormBlock {
        attention,
        attention_norm,
        feed_forward,
        output_norm,
        dropouts: [config.hidden_dropout_prob; 2],
    })
}
