//! What is trained on the layers, and what is asked of them.

use super::cache::Gpt2Writer;
use super::{Gpt2, Gpt2Config};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::inputs::Tokens;
use crate::models::network::{CausalLm, Classifier, Network, Writer};
use crate::nn::{Linear, LinearShape, Param, Vars, Wanted};
use crate::ops::{self, RowSelection};
use crate::tensor::{Depth, Init, Tape, Tensor};

/// The layers, declared under `transformer.`.
pub(super) fn gpt2(v: &Vars, config: &Gpt2Config) -> Result<Gpt2> {
    Gpt2::new(&v.at("transformer").depth(Depth::Top), config)
}

/// Predicts every next token (`GPT2LMHeadModel`).
pub struct Gpt2LmHead {
    /// The layers.
    pub gpt2: Gpt2,
    /// (V, C): the word embeddings, unless the configuration unties them.
    decoder: Param,
}

impl Gpt2LmHead {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Gpt2::new`].
    pub fn new(v: &Vars, config: &Gpt2Config) -> Result<Self> {
        let gpt2 = gpt2(v, config)?;
        let decoder = if config.tie_word_embeddings {
            v.module("lm_head");
            gpt2.words().clone()
        } else {
            let init = Init::Normal(config.initializer_range);
            v.embedding("lm_head", config.vocab_size, config.n_embd, init)?
                .weight
        };
        Ok(Gpt2LmHead { gpt2, decoder })
    }

    /// Logits (M, V) of hidden states (M, C).
    pub(super) fn decode(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        ops::linear(tape, hidden, &self.decoder.get()?, None)
    }
}

impl Network for Gpt2LmHead {
    fn set_checkpointing(&mut self, on: bool) {
        self.gpt2.checkpointing = on;
    }

    fn as_causal_lm(&self) -> Option<&dyn CausalLm> {
        Some(self)
    }
}

impl CausalLm for Gpt2LmHead {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<Tensor> {
        let wanted = Wanted::Rows(rows.clone());
        let hidden = self.gpt2.forward(tape, inputs.ids, &wanted)?;
        self.decode(tape, &hidden)
    }

    fn loss(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let hidden = self.gpt2.forward(tape, inputs.ids, &Wanted::All)?;
        let flat = hidden.reshaped([hidden.shape().rows(), hidden.shape().last()])?;
        ops::linear_cross_entropy(tape, &flat, &self.decoder.get()?, None, targets, weights)
    }

    fn writer<'a>(
        &'a self,
        gpu: &Gpu,
        rows: usize,
        capacity: usize,
    ) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Gpt2Writer::new(gpu, self, rows, capacity)?))
    }
}

/// Classifies whole sequences by their last token, or predicts numbers from it
/// (`GPT2ForSequenceClassification`).
pub struct Gpt2ForSequenceClassification {
    /// The layers.
    pub gpt2: Gpt2,
    score: Linear,
}

impl Gpt2ForSequenceClassification {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Gpt2::new`].
    pub fn new(v: &Vars, config: &Gpt2Config) -> Result<Self> {
        let shape = LinearShape {
            bias: false,
            ..LinearShape::new(config.n_embd, config.labels.count())
        };
        Ok(Gpt2ForSequenceClassification {
            gpt2: gpt2(v, config)?,
            score: v.linear_of("score", shape.normal(config.initializer_range))?,
        })
    }
}

impl Network for Gpt2ForSequenceClassification {
    fn set_checkpointing(&mut self, on: bool) {
        self.gpt2.checkpointing = on;
    }

    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self)
    }
}

impl Classifier for Gpt2ForSequenceClassification {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let expected = "the place of each row's last token, by which this model classifies";
        let missing = || Error::argument("classify", "last", "missing", expected);
        let last = inputs.last.ok_or_else(missing)?;
        let wanted = Wanted::Rows(last.clone());
        let hidden = self.gpt2.forward(tape, inputs.ids, &wanted)?;
        self.score.forward(tape, &hidden)
    }
}
