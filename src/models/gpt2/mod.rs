//! GPT-2 (Radford et al. 2019), with the parameter names and the values of transformers'
//! `GPT2Model`.

mod cache;
mod config;
mod heads;

use std::sync::Arc;

pub use cache::{Gpt2Cache, Gpt2Step};
pub use config::Gpt2Config;
pub use heads::{Gpt2ForSequenceClassification, Gpt2LmHead};

use crate::error::{Error, Result};
use crate::nn::{
    Dense, FeedForward, LayerNorm, LoraPlan, PreNormBlock, Projections, SelfAttention, Wanted,
    first_rows,
};
use crate::ops::{self, AttentionOptions, TokenIds};
use crate::tensor::{ParamStore, Tape, Tensor};

/// What stands on the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing (`GPT2Model`).
    None,
    /// `GPT2LMHeadModel`
    Lm,
    /// `GPT2ForSequenceClassification`
    SequenceClassification,
}

impl Head {
    /// The class in transformers, for `architectures` in `config.json`.
    pub fn architecture(self) -> &'static str {
        match self {
            Head::None => "GPT2Model",
            Head::Lm => "GPT2LMHeadModel",
            Head::SequenceClassification => "GPT2ForSequenceClassification",
        }
    }
}

/// The embeddings and the layers.
pub struct Gpt2 {
    words: Tensor,
    positions: Tensor,
    dropout: f32,
    layers: Vec<Arc<PreNormBlock>>,
    norm: LayerNorm,
    /// Whether layers are computed again on the way back instead of kept.
    pub checkpointing: bool,
}

impl Gpt2 {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when one is missing, [`Error::ModelConfig`].
    pub fn new(store: &ParamStore, config: &Gpt2Config, plan: &LoraPlan) -> Result<Gpt2> {
        config.validate()?;
        let norm = |name: &str| {
            let name = format!("transformer.{name}");
            LayerNorm::new(store, &name, config.layer_norm_epsilon)
        };
        let layer = |index: usize| {
            let l = config.layer(index);
            let act = config.activation_function;
            Ok(Arc::new(PreNormBlock {
                attention_norm: norm(&format!("h.{index}.ln_1"))?,
                attention: SelfAttention {
                    projections: Projections::Joint(Box::new(Dense::new(store, &l.c_attn, plan)?)),
                    output: Dense::new(store, &l.attention_output, plan)?,
                    options: AttentionOptions {
                        heads: config.n_head,
                        causal: true,
                        dropout: config.attn_pdrop,
                        scale: Some(config.attention_scale(index)),
                    },
                },
                feed_forward_norm: norm(&format!("h.{index}.ln_2"))?,
                feed_forward: FeedForward::new(store, [&l.up, &l.down], act, plan)?,
                dropout: config.resid_pdrop,
            }))
        };
        Ok(Gpt2 {
            words: store.get("transformer.wte.weight")?,
            positions: store.get("transformer.wpe.weight")?,
            dropout: config.embd_pdrop,
            layers: (0..config.n_layer).map(layer).collect::<Result<_>>()?,
            norm: norm("ln_f")?,
            checkpointing: false,
        })
    }

    /// The word embeddings (V, C), which the language model's output layer shares.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// The sum of the embeddings (B, T, C).
    fn embed(&self, tape: &Tape, ids: &TokenIds) -> Result<Tensor> {
        let [_, steps] = ids.ids().dims2("gpt2", "ids")?;
        let most = self.positions.dims()[0];
        if steps > most {
            return Err(Error::Shape {
                op: "gpt2",
                arg: "ids",
                expected: format!("(B, T) with T <= {most}, as n_positions says"),
                found: ids.ids().shape().to_string(),
            });
        }
        let words = ops::embedding(tape, &self.words, ids)?;
        let sum = ops::add(tape, &words, &first_rows(&self.positions, steps)?)?;
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
