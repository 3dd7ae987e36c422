//! BERT (Devlin et al. 2019), with the parameter names and the values of transformers' `BertModel`.

mod config;
mod heads;

use std::sync::Arc;

pub use config::BertConfig;
pub use heads::{
    BertForMaskedLm, BertForPreTraining, BertForSequenceClassification, BertForTokenClassification,
    MaskedTokens, NextSentence, Pooling, SentenceEmbedder,
};

use crate::error::{Error, Result};
use crate::nn::{
    Dense, FeedForward, LayerNorm, LoraPlan, PostNormBlock, Projections, SelfAttention, Wanted,
    first_rows,
};
use crate::ops::{self, AttentionOptions, TokenIds, Unary};
use crate::tensor::{ParamStore, Tape, Tensor};

/// What stands on the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing.
    None,
    /// The pooler alone (`BertModel`).
    Pooler,
    /// `BertForMaskedLM`
    MaskedLm,
    /// `BertForPreTraining`: masked LM and next-sentence prediction.
    PreTraining,
    /// `BertForSequenceClassification`
    SequenceClassification,
    /// `BertForTokenClassification`
    TokenClassification,
}

impl Head {
    /// The class in transformers, for `architectures` in `config.json`.
    pub fn architecture(self) -> &'static str {
        match self {
            Head::None | Head::Pooler => "BertModel",
            Head::MaskedLm => "BertForMaskedLM",
            Head::PreTraining => "BertForPreTraining",
            Head::SequenceClassification => "BertForSequenceClassification",
            Head::TokenClassification => "BertForTokenClassification",
        }
    }
}

/// A batch of B sequences of T tokens, padded on the right.
#[derive(Clone, Copy)]
pub struct BertInputs<'a> {
    /// (B, T)
    pub ids: &'a TokenIds,
    /// (B, T) segment of each token; `None`: all of segment 0.
    pub token_types: Option<&'a TokenIds>,
    /// (B) u32, tokens that count of each row.
    pub lens: &'a Tensor,
}

/// The encoder.
pub struct Bert {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: LayerNorm,
    dropout: f32,
    layers: Vec<Arc<PostNormBlock>>,
    /// Whether layers are computed again on the way back instead of kept.
    pub checkpointing: bool,
}

impl Bert {
    /// The encoder whose parameters stand in `store`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when one is missing, [`Error::ModelConfig`].
    pub fn new(store: &ParamStore, config: &BertConfig, plan: &LoraPlan) -> Result<Bert> {
        config.validate()?;
        let table = |name: &str| store.get(&format!("bert.embeddings.{name}.weight"));
        let norm = |name: &str| LayerNorm::new(store, name, config.layer_norm_eps);
        let layer = |index: usize| {
            let l = config.layer(index);
            let dense = |shape| Dense::new(store, shape, plan);
            let prefix = format!("bert.encoder.layer.{index}");
            let up_and_down = [&l.intermediate, &l.output];
            Ok(Arc::new(PostNormBlock {
                attention: SelfAttention {
                    projections: Projections::Apart(Box::new([
                        dense(&l.query)?,
                        dense(&l.key)?,
                        dense(&l.value)?,
                    ])),
                    output: dense(&l.attention_output)?,
                    options: AttentionOptions {
                        heads: config.num_attention_heads,
                        causal: false,
                        dropout: config.attention_probs_dropout_prob,
                        scale: None,
                    },
                },
                attention_norm: norm(&format!("{prefix}.attention.output.LayerNorm"))?,
                feed_forward: FeedForward::new(store, up_and_down, config.hidden_act, plan)?,
                output_norm: norm(&format!("{prefix}.output.LayerNorm"))?,
                dropout: config.hidden_dropout_prob,
            }))
        };
        Ok(Bert {
            words: table("word_embeddings")?,
            positions: table("position_embeddings")?,
            types: table("token_type_embeddings")?,
            norm: norm("bert.embeddings.LayerNorm")?,
            dropout: config.hidden_dropout_prob,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            checkpointing: false,
        })
    }

    /// The word embeddings (V, C), which a masked LM's output layer shares.
    pub fn words(&self) -> &Tensor {
        &self.words
    }

    /// The sum of the embeddings, normalised: (B, T, C).
    fn embed(&self, tape: &Tape, inputs: &BertInputs<'_>) -> Result<Tensor> {
        let [_, steps] = inputs.ids.ids().dims2("bert", "ids")?;
        let most = self.positions.dims()[0];
        if steps > most {
            return Err(Error::Shape {
                op: "bert",
                arg: "ids",
                expected: format!("(B, T) with T <= {most}, as max_position_embeddings says"),
                found: inputs.ids.ids().shape().to_string(),
            });
        }
        let words = ops::embedding(tape, &self.words, inputs.ids)?;
        let mut rows = first_rows(&self.positions, steps)?;
        let types = match inputs.token_types {
            Some(types) => Some(ops::embedding(tape, &self.types, types)?),
            None => {
                rows = ops::add(tape, &rows, &first_rows(&self.types, 1)?)?;
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
    pub fn forward(&self, tape: &Tape, inputs: &BertInputs<'_>, wanted: &Wanted) -> Result<Tensor> {
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
    pub fn hidden_states(&self, tape: &Tape, inputs: &BertInputs<'_>) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(tape, inputs)?];
        for index in 0..self.layers.len() {
            let state = self.layer(tape, index, &states[index], inputs.lens, &Wanted::All)?;
            states.push(state);
        }
        Ok(states)
    }
}

/// tanh of a linear layer on each sequence's first token.
struct Pooler(Dense);

impl Pooler {
    fn new(store: &ParamStore, config: &BertConfig, plan: &LoraPlan) -> Result<Pooler> {
        Ok(Pooler(Dense::new(store, &config.pooler(), plan)?))
    }

    /// first (B, C) → (B, C)
    fn forward(&self, tape: &Tape, first: &Tensor) -> Result<Tensor> {
        ops::unary(tape, &self.0.forward(tape, first)?, Unary::Tanh)
    }
}
