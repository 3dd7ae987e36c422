//! What is trained on a decoder, and what is asked of it.

use super::DecoderLayers;
use super::cache::DecoderWriter;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::inputs::Tokens;
use crate::models::network::{CausalLm, Classifier, Network, Tagger, Writer};
use crate::nn::{Linear, LinearShape, Param, Vars, Wanted};
use crate::ops::{self, RowSelection, Unary};
use crate::tensor::{Init, Tape, Tensor};

/// Predicts every next token.
pub struct DecoderLm<L> {
    /// The layers.
    pub layers: L,
    /// (V, C): the word embeddings, unless the configuration unties them.
    decoder: Param,
    /// Logits become cap · tanh(logit / cap), for this cap.
    cap: Option<f32>,
}

impl<L: DecoderLayers> DecoderLm<L> {
    /// Declares the output layer `lm_head`: a weight (V, C) of this shape that starts with `init`, or
    /// else the word embeddings.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(
        v: &Vars,
        layers: L,
        own: Option<([usize; 2], Init)>,
        cap: Option<f32>,
    ) -> Result<Self> {
        let decoder = match own {
            Some((shape, init)) => v.at("lm_head").param("weight", shape, init)?,
            None => {
                v.module("lm_head");
                layers.words().clone()
            }
        };
        Ok(DecoderLm {
            layers,
            decoder,
            cap,
        })
    }

    /// The hidden states of all tokens, one after the other: (B·T, C).
    fn flat(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let hidden = self.layers.forward(tape, inputs, &Wanted::All)?;
        hidden.reshaped([hidden.shape().rows(), hidden.shape().last()])
    }

    /// Logits (M, V) of hidden states (M, C).
    pub(super) fn decode(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let logits = ops::linear(tape, hidden, &self.decoder.get()?, None)?;
        match self.cap {
            Some(cap) => {
                let t = ops::unary(tape, &ops::scale(tape, &logits, 1.0 / cap)?, Unary::Tanh)?;
                ops::scale(tape, &t, cap)
            }
            None => Ok(logits),
        }
    }
}

impl<L: DecoderLayers> Network for DecoderLm<L> {
    fn set_checkpointing(&mut self, on: bool) {
        self.layers.set_checkpointing(on);
    }

    fn as_causal_lm(&self) -> Option<&dyn CausalLm> {
        Some(self)
    }
}

impl<L: DecoderLayers> CausalLm for DecoderLm<L> {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<Tensor> {
        let wanted = Wanted::Rows(rows.clone());
        let hidden = self.layers.forward(tape, inputs, &wanted)?;
        self.decode(tape, &hidden)
    }

    fn smoothed_loss(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        [targets, weights]: [&Tensor; 2],
        smoothing: f32,
    ) -> Result<Tensor> {
        let flat = self.flat(tape, inputs)?;
        if self.cap.is_some() {
            let logits = self.decode(tape, &flat)?;
            return ops::smoothed_cross_entropy(tape, &logits, targets, weights, smoothing);
        }
        let layer = (&self.decoder.get()?, None);
        ops::smoothed_linear_cross_entropy(tape, &flat, layer, targets, weights, smoothing)
    }

    fn token_losses(&self, tape: &Tape, inputs: &Tokens<'_>, targets: &Tensor) -> Result<Tensor> {
        let flat = self.flat(tape, inputs)?;
        if self.cap.is_some() {
            return ops::token_losses(tape, &self.decode(tape, &flat)?, targets);
        }
        ops::linear_token_losses(tape, &flat, &self.decoder.get()?, None, targets)
    }

    fn writer<'a>(
        &'a self,
        gpu: &Gpu,
        rows: usize,
        capacity: usize,
    ) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(DecoderWriter::new(gpu, self, rows, capacity)?))
    }
}

/// Classifies whole sequences by their last token, or predicts numbers from it.
pub struct DecoderClassifier<L> {
    /// The layers.
    pub layers: L,
    score: Linear,
}

impl<L: DecoderLayers> DecoderClassifier<L> {
    /// Declares the output layer `score`, without a bias.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, layers: L, shape: LinearShape) -> Result<Self> {
        let shape = LinearShape {
            bias: false,
            ..shape
        };
        Ok(DecoderClassifier {
            layers,
            score: v.linear_of("score", shape)?,
        })
    }
}

impl<L: DecoderLayers> Network for DecoderClassifier<L> {
    fn set_checkpointing(&mut self, on: bool) {
        self.layers.set_checkpointing(on);
    }

    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self)
    }
}

impl<L: DecoderLayers> Classifier for DecoderClassifier<L> {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let expected = "the place of each row's last token, by which this model classifies";
        let missing = || Error::argument("classify", "last", "missing", expected);
        let last = inputs.last.ok_or_else(missing)?;
        let wanted = Wanted::Rows(last.clone());
        let hidden = self.layers.forward(tape, inputs, &wanted)?;
        self.score.forward(tape, &hidden)
    }
}

/// Classifies every token.
pub struct DecoderTagger<L> {
    /// The layers.
    pub layers: L,
    /// Of what they make.
    dropout: f32,
    score: Linear,
}

impl<L: DecoderLayers> DecoderTagger<L> {
    /// Declares the output layer `score`.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn new(v: &Vars, layers: L, shape: LinearShape, dropout: f32) -> Result<Self> {
        v.module("dropout");
        Ok(DecoderTagger {
            layers,
            dropout,
            score: v.linear_of("score", shape)?,
        })
    }
}

impl<L: DecoderLayers> Network for DecoderTagger<L> {
    fn set_checkpointing(&mut self, on: bool) {
        self.layers.set_checkpointing(on);
    }

    fn as_tagger(&self) -> Option<&dyn Tagger> {
        Some(self)
    }
}

impl<L: DecoderLayers> Tagger for DecoderTagger<L> {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let hidden = self.layers.forward(tape, inputs, &Wanted::All)?;
        let dropped = ops::dropout(tape, &hidden, self.dropout)?;
        self.score.forward(tape, &dropped)
    }
}
