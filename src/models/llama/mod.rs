//! Llama (Touvron et al. 2023) and its kin, Mistral, Qwen, Gemma and Phi, with the parameter names and
//! the values of transformers' `LlamaModel` and the like.

mod config;
#[cfg(feature = "train")]
mod family;
#[cfg(feature = "train")]
mod gguf;
mod kin;
mod rope;

use std::sync::Arc;

pub use config::LlamaConfig;
#[cfg(feature = "train")]
pub use family::{GEMMA, GEMMA2, GEMMA3, LLAMA, MISTRAL, PHI3, QWEN2, QWEN3};

use super::decoder::{
    DecoderClassifier, DecoderLayer, DecoderLayers, DecoderLm, DecoderTagger, Place, Stack,
};
use super::network::Network;
use crate::error::Result;
use crate::nn::{
    DecoderBlock, GateLayers, GatedFeedForward, Linear, LinearShape, Param, Projections, RmsNorm,
    Rope, RotaryAttention, Segments, Vars, Wanted,
};
use crate::ops::{self, AttentionOptions, TokenIds};
use crate::tensor::{Depth, Init, Tape, Tensor};
use config::Read;

/// The embeddings and the layers.
pub struct Llama {
    words: Param,
    /// What they are multiplied by.
    scale: Option<f32>,
    layers: Stack<DecoderBlock>,
    norm: RmsNorm,
    positions: usize,
    /// Width of a layer's keys.
    kept: usize,
}

impl Llama {
    /// Declares the layers under transformers' names, which begin with `model.` in a model with a
    /// head.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`]; those of [`Vars::param`].
    pub fn new(v: &Vars, config: &LlamaConfig) -> Result<Llama> {
        let read = config.derived()?;
        let (width, kin) = (config.hidden_size, config.kin);
        let init = Init::Normal(config.initializer_range);
        let embeddings = v.depth(Depth::Embeddings);
        let words = embeddings.embedding("embed_tokens", config.vocab_size, width, init)?;
        let full = Arc::new(read.rope.full.rope());
        let sliding = read.rope.sliding.as_ref();
        let sliding = sliding.map_or_else(|| full.clone(), |of| Arc::new(of.rope()));
        let layers = v.at("layers");
        let layer = |n: usize| {
            let rope = if read.windows[n].is_some() {
                &sliding
            } else {
                &full
            };
            layer(&layers.at(n).depth(Depth::Layer(n)), config, &read, n, rope)
        };
        Ok(Llama {
            words: words.weight,
            scale: kin.gemma.then(|| (width as f32).sqrt()),
            layers: Stack::new(config.num_hidden_layers, layer)?,
            norm: norm(v, "norm", config, width)?,
            positions: config.max_position_embeddings,
            kept: config.kv_heads() * config.head_width(),
        })
    }
}

impl LlamaConfig {
    /// Declares the layers, under `model.`.
    fn layers(&self, v: &Vars) -> Result<Llama> {
        Llama::new(&v.at("model").depth(Depth::Top), self)
    }

    /// Declares what predicts every next token (`LlamaForCausalLM`).
    ///
    /// # Errors
    /// As [`Llama::new`].
    pub fn language_model(&self, v: &Vars) -> Result<DecoderLm<Llama>> {
        let shape = [self.vocab_size, self.hidden_size];
        let init = Init::Normal(self.initializer_range);
        let own = (!self.tie_word_embeddings).then_some((shape, init));
        DecoderLm::new(v, self.layers(v)?, own, self.derived()?.logit_cap)
    }

    fn score(&self) -> LinearShape {
        LinearShape::new(self.hidden_size, self.labels.count()).normal(self.initializer_range)
    }

    /// Declares what classifies whole sequences by their last token, or predicts numbers from it
    /// (`LlamaForSequenceClassification`).
    ///
    /// # Errors
    /// As [`Llama::new`].
    pub fn classifier(&self, v: &Vars) -> Result<DecoderClassifier<Llama>> {
        DecoderClassifier::new(v, self.layers(v)?, self.score())
    }

    /// Declares what classifies every token (`LlamaForTokenClassification`).
    ///
    /// # Errors
    /// As [`Llama::new`].
    pub fn tagger(&self, v: &Vars) -> Result<DecoderTagger<Llama>> {
        let dropout = self.derived()?.token_dropout;
        DecoderTagger::new(v, self.layers(v)?, self.score(), dropout)
    }
}

/// No encoder for others: a vector that has not seen what follows its token says little of a text.
impl Network for Llama {
    fn set_checkpointing(&mut self, on: bool) {
        self.layers.checkpointing = on;
    }
}

impl DecoderLayers for Llama {
    type Layer = DecoderBlock;

    fn words(&self) -> &Param {
        &self.words
    }

    fn positions(&self) -> usize {
        self.positions
    }

    fn kept(&self) -> usize {
        self.kept
    }

    fn stack(&self) -> &Stack<DecoderBlock> {
        &self.layers
    }

    fn embed(&self, tape: &Tape, ids: &TokenIds, _: Option<&Segments>) -> Result<Tensor> {
        let words = ops::embedding(tape, &self.words.get()?, ids)?;
        match self.scale {
            Some(scale) => ops::scale(tape, &words, scale),
            None => Ok(words),
        }
    }

    fn embed_at(&self, tape: &Tape, place: &Place) -> Result<Tensor> {
        self.embed(tape, &place.ids, None)
    }

    fn normalise(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        Ok(self.norm.forward(tape, x, None)?.y)
    }
}

impl DecoderLayer for DecoderBlock {
    fn read(
        &self,
        tape: &Tape,
        x: &Tensor,
        place: &Place,
        (keys, values): &(Tensor, Tensor),
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let normed = self.attention_norm.forward(tape, x, None)?.y;
        let attention = &self.attention;
        let [_, capacity, _] = keys.dims3("decoder", "keys")?;
        let positions = Some(place.positions.ids());
        let [q, k, v] = attention.parts(tape, &normed, capacity, positions)?;
        ops::cache_append(&k, 0, &place.starts, keys)?;
        ops::cache_append(&v, 0, &place.starts, values)?;
        let lens = Some(&place.lens);
        let context = ops::attention(tape, &q, keys, values, lens, &attention.options)?;
        let context = wanted.of(tape, &context)?;
        let a = attention.output.forward(tape, &context)?;
        self.finish(tape, &wanted.of(tape, x)?, &a)
    }
}

fn norm(v: &Vars, name: &str, config: &LlamaConfig, width: usize) -> Result<RmsNorm> {
    let offset = if config.kin.gemma { 1.0 } else { 0.0 };
    v.rms_norm(name, width, offset, config.rms_norm_eps)
}

/// Layer `index`, declared under `v`.
fn layer(
    v: &Vars,
    config: &LlamaConfig,
    read: &Read,
    index: usize,
    rope: &Arc<Rope>,
) -> Result<DecoderBlock> {
    let (width, inner, kin) = (config.hidden_size, config.intermediate_size, config.kin);
    let head = config.head_width();
    let (own, shared) = (config.num_attention_heads * head, config.kv_heads() * head);
    let linear = |name: &str, inputs, outputs, bias| -> Result<Linear> {
        let shape = LinearShape::new(inputs, outputs).normal(config.initializer_range);
        v.linear_of(name, LinearShape { bias, ..shape })
    };
    let [qkv_bias, output_bias, inner_bias] = read.biases;
    let projections = if kin.joint {
        let joint = linear("self_attn.qkv_proj", width, own + 2 * shared, qkv_bias)?;
        Projections::Joint(Box::new(joint))
    } else {
        Projections::Apart(Box::new([
            linear("self_attn.q_proj", width, own, qkv_bias)?,
            linear("self_attn.k_proj", width, shared, qkv_bias)?,
            linear("self_attn.v_proj", width, shared, qkv_bias)?,
        ]))
    };
    let output = linear("self_attn.o_proj", own, width, output_bias)?;
    let norms = if kin.head_norms {
        let of = |name| norm(v, name, config, head);
        Some([of("self_attn.q_norm")?, of("self_attn.k_norm")?])
    } else {
        None
    };
    let layers = if kin.joint {
        let both = linear("mlp.gate_up_proj", width, 2 * inner, inner_bias)?;
        GateLayers::Joint(Box::new(both))
    } else {
        GateLayers::Apart(Box::new([
            linear("mlp.gate_proj", width, inner, inner_bias)?,
            linear("mlp.up_proj", width, inner, inner_bias)?,
        ]))
    };
    let down = linear("mlp.down_proj", inner, width, inner_bias)?;
    v.module("mlp.act_fn");
    let of = |name| norm(v, name, config, width);
    let attention_norm = of("input_layernorm")?;
    // Gemma's name of the norm after attention is Llama's of the one before the second half.
    let (after, before, last) = if kin.sum_norms {
        let after = of("post_attention_layernorm")?;
        let before = of("pre_feedforward_layernorm")?;
        (Some(after), before, Some(of("post_feedforward_layernorm")?))
    } else {
        (None, of("post_attention_layernorm")?, None)
    };
    Ok(DecoderBlock {
        attention_norm,
        attention: RotaryAttention {
            projections,
            norms,
            rope: rope.clone(),
            output,
            options: AttentionOptions {
                kv_heads: Some(config.kv_heads()),
                causal: true,
                window: read.windows[index],
                softcap: read.attention_cap,
                dropout: config.attention_dropout,
                scale: Some(read.attention_scale),
                ..AttentionOptions::new(config.num_attention_heads)
            },
        },
        attention_sum_norm: after,
        feed_forward_norm: before,
        feed_forward: GatedFeedForward {
            layers,
            f: read.gate,
            down,
        },
        feed_forward_sum_norm: last,
    })
}
