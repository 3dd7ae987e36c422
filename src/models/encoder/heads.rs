//! What is trained on an encoder, and what is asked of it.

use super::TextEncoder;
use crate::error::Result;
use crate::models::inputs::{MaskedTokens, Tokens};
use crate::models::network::{Classifier, Encoder, MaskedLm, Network, Tagger};
use crate::nn::{HiddenAct, LayerNorm, Linear, Param, Wanted};
use crate::ops::{self, RowSelection, Unary};
use crate::tensor::{Tape, Tensor};

/// tanh of a linear layer on each sequence's first token.
pub struct Pooler(pub Linear);

impl Pooler {
    /// first (B, C) → (B, C)
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, first: &Tensor) -> Result<Tensor> {
        ops::unary(tape, &self.0.forward(tape, first)?, Unary::Tanh)
    }
}

/// The layers between an encoder and the words.
pub struct WordHead {
    /// First.
    pub transform: Linear,
    /// Of what that makes.
    pub act: HiddenAct,
    /// Then.
    pub norm: LayerNorm,
    /// (V, C): the word embeddings, unless the configuration unties them.
    pub decoder: Param,
    /// (V)
    pub bias: Param,
}

impl WordHead {
    /// hidden (M, C) → (M, C)
    fn features(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let transformed = self.transform.forward(tape, hidden)?;
        let transformed = self.act.forward(tape, &transformed)?;
        Ok(self.norm.forward(tape, &transformed, None)?.y)
    }

    /// hidden (M, C) at the masked positions → (1)
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn loss(&self, tape: &Tape, hidden: &Tensor, masked: &MaskedTokens<'_>) -> Result<Tensor> {
        let x = self.features(tape, hidden)?;
        let (decoder, bias) = (self.decoder.get()?, self.bias.get()?);
        let (targets, weights) = (masked.targets, masked.weights);
        ops::linear_cross_entropy(tape, &x, &decoder, Some(&bias), targets, weights)
    }

    /// hidden (M, C) → (M, V)
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn logits(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let x = self.features(tape, hidden)?;
        ops::linear(tape, &x, &self.decoder.get()?, Some(&self.bias.get()?))
    }
}

/// An encoder with its pooler.
pub struct PooledEncoder {
    /// The encoder.
    pub encoder: TextEncoder,
    /// On its first token.
    pub pooler: Pooler,
}

impl PooledEncoder {
    /// The pooler's output (B, C).
    ///
    /// # Errors
    /// As [`TextEncoder::forward`].
    pub fn pooled(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let first = self.encoder.forward(tape, inputs, &Wanted::First)?;
        self.pooler.forward(tape, &first)
    }
}

impl Network for PooledEncoder {
    fn set_checkpointing(&mut self, on: bool) {
        self.encoder.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.encoder)
    }
}

/// Guesses masked tokens.
pub struct EncoderMaskedLm {
    /// The encoder.
    pub encoder: TextEncoder,
    /// On it.
    pub head: WordHead,
}

impl Network for EncoderMaskedLm {
    fn set_checkpointing(&mut self, on: bool) {
        self.encoder.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.encoder)
    }

    fn as_masked_lm(&self) -> Option<&dyn MaskedLm> {
        Some(self)
    }
}

impl MaskedLm for EncoderMaskedLm {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<Tensor> {
        let wanted = Wanted::Rows(rows.clone());
        let hidden = self.encoder.forward(tape, inputs, &wanted)?;
        self.head.logits(tape, &hidden)
    }

    fn loss(&self, tape: &Tape, inputs: &Tokens<'_>, masked: &MaskedTokens<'_>) -> Result<Tensor> {
        let wanted = Wanted::Rows(masked.rows.clone());
        let hidden = self.encoder.forward(tape, inputs, &wanted)?;
        self.head.loss(tape, &hidden, masked)
    }
}

/// Two layers on each sequence's first token, the second with an output for each label.
pub struct SequenceHead {
    /// Dropout of what the first layer reads.
    pub first_dropout: f32,
    /// First.
    pub dense: Linear,
    /// Of what that makes.
    pub act: Unary,
    /// Dropout of what the second layer reads.
    pub dropout: f32,
    /// Second.
    pub output: Linear,
}

impl SequenceHead {
    /// first (B, C) → (B, C), what the second layer reads, before its dropout.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn pooled(&self, tape: &Tape, first: &Tensor) -> Result<Tensor> {
        let first = ops::dropout(tape, first, self.first_dropout)?;
        ops::unary(tape, &self.dense.forward(tape, &first)?, self.act)
    }

    /// first (B, C) → (B, K)
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn logits(&self, tape: &Tape, first: &Tensor) -> Result<Tensor> {
        let pooled = self.pooled(tape, first)?;
        let pooled = ops::dropout(tape, &pooled, self.dropout)?;
        self.output.forward(tape, &pooled)
    }
}

/// Classifies whole sequences, or predicts numbers from them.
pub struct EncoderClassifier {
    /// The encoder.
    pub encoder: TextEncoder,
    /// On its first token.
    pub head: SequenceHead,
}

impl Network for EncoderClassifier {
    fn set_checkpointing(&mut self, on: bool) {
        self.encoder.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.encoder)
    }

    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self)
    }
}

impl Classifier for EncoderClassifier {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let first = self.encoder.forward(tape, inputs, &Wanted::First)?;
        self.head.logits(tape, &first)
    }
}

/// Classifies every token.
pub struct EncoderTagger {
    /// The encoder.
    pub encoder: TextEncoder,
    /// An output for each label.
    pub classifier: Linear,
    /// Dropout of what that reads.
    pub dropout: f32,
}

impl Network for EncoderTagger {
    fn set_checkpointing(&mut self, on: bool) {
        self.encoder.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.encoder)
    }

    fn as_tagger(&self) -> Option<&dyn Tagger> {
        Some(self)
    }
}

impl Tagger for EncoderTagger {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let hidden = self.encoder.forward(tape, inputs, &Wanted::All)?;
        let hidden = ops::dropout(tape, &hidden, self.dropout)?;
        self.classifier.forward(tape, &hidden)
    }
}
