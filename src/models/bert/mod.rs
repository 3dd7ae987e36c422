//! BERT (Devlin et al. 2019), with the parameter names and the values of transformers' `BertModel`.

mod config;
#[cfg(feature = "train")]
mod family;
mod heads;

use std::sync::Arc;

pub use config::BertConfig;
#[cfg(feature = "train")]
pub use family::BERT;
pub use heads::{
    BertForMaskedLm, BertForPreTraining, BertForSequenceClassification, BertForTokenClassification,
    BertModel,
};

use super::inputs::Tokens;
use super::network::{Encoder, Network};
use crate::error::{Error, Result};
use crate::nn::{
    FeedForward, LayerNorm, LinearShape, Param, PostNormBlock, Projections, SelfAttention, Vars,
    Wanted, first_rows,
};
use crate::ops::{self, AttentionOptions};
use crate::tensor::{Depth, Init, Tape, Tensor};

/// The encoder.
pub struct Bert {
    width: usize,
    words: Param,
    positions: Param,
    types: Param,
    norm: LayerNorm,
    dropout: f32,
    layers: Vec<Arc<PostNormBlock>>,
    /// Whether layers are computed again on the way back instead of kept.
    pub checkpointing: bool,
}

impl Bert {
    /// Declares an encoder under transformers' names, which begin with `bert.` in a model with a head.
    ///
    /// # Errors
    /// [`Error::ModelConfig`]; those of [`Vars::param`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Bert> {
        config.validate()?;
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let embeddings = v.at("embeddings").depth(Depth::Embeddings);
        let table = |name: &str, rows| {
            let init = Init::Normal(config.initializer_range);
            Ok::<Param, Error>(embeddings.embedding(name, rows, width, init)?.weight)
        };
        let words = table("word_embeddings", config.vocab_size)?;
        let positions = table("position_embeddings", config.max_position_embeddings)?;
        let types = table("token_type_embeddings", config.type_vocab_size)?;
        let norm = embeddings.layer_norm("LayerNorm", width, eps)?;
        embeddings.module("dropout");
        let layers = v.at("encoder.layer");
        let layer = |n: usize| layer(&layers.at(n).depth(Depth::Layer(n)), config);
        Ok(Bert {
            width,
            words,
            positions,
            types,
            norm,
            dropout: config.hidden_dropout_prob,
            layers: (0..config.num_hidden_layers)
                .map(|n| layer(n).map(Arc::new))
                .collect::<Result<_>>()?,
            checkpointing: false,
        })
    }

    /// The word embeddings (V, C), which a masked LM's output layer shares.
    pub fn words(&self) -> &Param {
        &self.words
    }

    /// The sum of the embeddings, normalised: (B, T, C).
    fn embed(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let [_, steps] = inputs.ids.ids().dims2("bert", "ids")?;
        let (words, positions) = (self.words.get()?, self.positions.get()?);
        let types = self.types.get()?;
        let most = positions.dims()[0];
        if steps > most {
            return Err(Error::Shape {
                op: "bert",
                arg: "ids",
                expected: format!("(B, T) with T <= {most}, as max_position_embeddings says"),
                found: inputs.ids.ids().shape().to_string(),
            });
        }
        let words = ops::embedding(tape, &words, inputs.ids)?;
        let mut rows = first_rows(&positions, steps)?;
        let types = match inputs.types {
            Some(of_each) => Some(ops::embedding(tape, &types, of_each)?),
            None => {
                rows = ops::add(tape, &rows, &first_rows(&types, 1)?)?;
                None
            }
        };
        let sum = ops::add(tape, &words, &rows)?;
        let normed = self.norm.forward(tape, &sum, types.as_ref())?.y;
        ops::dropout(tape, &normed, self.dropout)
    }

    fn layer(
        &self,
        tape: &Tape,
        index: usize,
        x: &Tensor,
        lens: &Tensor,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let layer = &self.layers[index];
        if !self.checkpointing {
            return layer.forward(tape, x, lens, wanted);
        }
        let (layer, lens, wanted) = (layer.clone(), lens.clone(), wanted.clone());
        tape.checkpoint(&[x], move |tape, x| {
            layer.forward(tape, &x[0], &lens, &wanted)
        })
    }

    /// The last layer's output (B, T, C), or only the wanted rows of it.
    ///
    /// # Errors
    /// [`Error::Shape`] for a sequence longer than there are positions.
    pub fn forward(&self, tape: &Tape, inputs: &Tokens<'_>, wanted: &Wanted) -> Result<Tensor> {
        let embedded = self.embed(tape, inputs)?;
        (0..self.layers.len()).try_fold(embedded, |x, l| {
            let wanted = wanted.of_layer(l, self.layers.len());
            self.layer(tape, l, &x, inputs.lens, wanted)
        })
    }

    /// The embeddings and every layer's output, (B, T, C) each.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn hidden_states(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(tape, inputs)?];
        for index in 0..self.layers.len() {
            let state = self.layer(tape, index, &states[index], inputs.lens, &Wanted::All)?;
            states.push(state);
        }
        Ok(states)
    }
}

/// One layer, declared under `v`.
fn layer(v: &Vars, config: &BertConfig) -> Result<PostNormBlock> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let std = config.initializer_range;
    let linear = |v: &Vars, name: &str, inputs, outputs| {
        v.linear_of(name, LinearShape::new(inputs, outputs).normal(std))
    };
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
            heads: config.num_attention_heads,
            causal: false,
            dropout: config.attention_probs_dropout_prob,
            scale: None,
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

impl Encoder for Bert {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, tape: &Tape, inputs: &Tokens<'_>, wanted: &Wanted) -> Result<Tensor> {
        self.forward(tape, inputs, wanted)
    }
}

impl Network for Bert {
    fn set_checkpointing(&mut self, on: bool) {
        self.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(self)
    }
}
