//! What a model can be asked to do, whatever its family: a trait for each ability, and one by which
//! to ask for them.

use super::heads::classification_loss;
use super::inputs::{Answers, MaskedTokens, NextSentence, Tokens};
use crate::device::Gpu;
use crate::error::Result;
use crate::nn::Wanted;
use crate::ops::RowSelection;
use crate::tensor::{Tape, Tensor};

/// A model that has been built. What it cannot do it answers with `None`.
pub trait Network: Send + Sync {
    /// Computes each layer's activations again on the way back instead of keeping them, where it
    /// can.
    fn set_checkpointing(&mut self, _on: bool) {}

    /// Keeps batch norms as they are while the rest is trained: they normalise by their running
    /// statistics, which no batch changes.
    fn set_frozen_norms(&mut self, _on: bool) {}

    /// Vectors of tokens.
    fn as_encoder(&self) -> Option<&dyn Encoder> {
        None
    }

    /// Guesses masked tokens.
    fn as_masked_lm(&self) -> Option<&dyn MaskedLm> {
        None
    }

    /// Guesses masked tokens and whether one text follows another.
    fn as_next_sentence(&self) -> Option<&dyn MaskedNextSentence> {
        None
    }

    /// Predicts each next token.
    fn as_causal_lm(&self) -> Option<&dyn CausalLm> {
        None
    }

    /// Classifies sequences, or predicts numbers from them.
    fn as_classifier(&self) -> Option<&dyn Classifier> {
        None
    }

    /// Classifies every token.
    fn as_tagger(&self) -> Option<&dyn Tagger> {
        None
    }

    /// Classifies pictures.
    fn as_picture_classifier(&self) -> Option<&dyn PictureClassifier> {
        None
    }

    /// Predicts each next token of text that comes window by window.
    fn as_recurrent_lm(&self) -> Option<&dyn RecurrentLm> {
        None
    }

    /// Writes a sequence that it has read.
    fn as_autoencoder(&self) -> Option<&dyn Autoencoder> {
        None
    }

    /// Classifies sequences and, at the same time, predicts their tokens.
    fn as_joint(&self) -> Option<&dyn JointObjective> {
        None
    }
}

/// Makes a vector of every token.
pub trait Encoder {
    /// Width of a vector (C).
    fn width(&self) -> usize;

    /// The last layer's output (B, T, C), or only the wanted rows of it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a sequence longer than there are positions.
    fn encode(&self, tape: &Tape, inputs: &Tokens<'_>, wanted: &Wanted) -> Result<Tensor>;
}

/// Guesses masked tokens.
pub trait MaskedLm {
    /// Logits (M, V) at the selected positions of the flattened batch.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<Tensor>;

    /// Σ weightᵢ·lossᵢ over the masked positions, as (1). Logits exist a chunk of rows at a time.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn loss(&self, tape: &Tape, inputs: &Tokens<'_>, masked: &MaskedTokens<'_>) -> Result<Tensor>;
}

/// Guesses masked tokens, and whether a second text follows the first.
pub trait MaskedNextSentence {
    /// Logits (M, V) at the selected positions, and of the next sentence (B, 2).
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<[Tensor; 2]>;

    /// The masked LM's loss and the next sentence's, (1) each; their sum is what is minimised.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn losses(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        masked: &MaskedTokens<'_>,
        next: &NextSentence<'_>,
    ) -> Result<[Tensor; 2]>;
}

/// Predicts each next token.
pub trait CausalLm {
    /// Logits (M, V) at the selected positions of the flattened batch.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<Tensor>;

    /// Σ weightᵢ·lossᵢ, as (1): targets (B·T) u32, at each position the token after it, `u32::MAX`
    /// where none counts; weights (B·T).
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn loss(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        self.smoothed_loss(tape, inputs, [targets, weights], 0.0)
    }

    /// [`CausalLm::loss`] against targets of which the share `smoothing` is spread evenly over all tokens.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; [`crate::Error::Argument`] unless 0 ≤ smoothing < 1.
    fn smoothed_loss(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        answers: [&Tensor; 2],
        smoothing: f32,
    ) -> Result<Tensor>;

    /// The loss of each token by itself, (B·T), of targets as [`loss`](Self::loss) has them.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn token_losses(&self, tape: &Tape, inputs: &Tokens<'_>, targets: &Tensor) -> Result<Tensor>;

    /// Begins to write `rows` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for a capacity beyond the model's positions;
    /// [`crate::Error::TooLarge`].
    fn writer<'a>(
        &'a self,
        gpu: &Gpu,
        rows: usize,
        capacity: usize,
    ) -> Result<Box<dyn Writer + 'a>>;
}

/// Sequences being written, with what the model remembers of them.
pub trait Writer {
    /// Reads the next tokens of every row, at least one of each, and returns the logits of what
    /// follows the last of each: (B, V), row by row. The pass is recorded once for every length.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for another number of rows or a row without tokens;
    /// [`crate::Error::Argument`] beyond the capacity.
    fn read(&mut self, tokens: &[&[u32]]) -> Result<Vec<f32>>;

    /// Forgets all but the first `kept` tokens of every row.
    fn rewind(&mut self, kept: usize);
}

/// Classifies sequences, or predicts numbers from them.
pub trait Classifier {
    /// Logits (B, K).
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor>;

    /// Σ weightᵢ·lossᵢ of what it says of each sequence, as (1).
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn loss(&self, tape: &Tape, inputs: &Tokens<'_>, answers: &Answers<'_>) -> Result<Tensor> {
        classification_loss(tape, &self.logits(tape, inputs)?, answers)
    }
}

/// Classifies every token.
pub trait Tagger {
    /// Logits (B, T, K).
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor>;
}

/// Classifies pictures.
pub trait PictureClassifier {
    /// Logits (N, K) of pictures (N, H, W, C) f32, as the model's preprocessing leaves them.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for pictures of another size or with other channels.
    fn logits(&self, tape: &Tape, pixels: &Tensor) -> Result<Tensor>;
}

/// The state of every layer between two windows: output and cell, (B, H) each.
pub type States = Vec<(Tensor, Tensor)>;

/// Predicts each next token of text that comes window by window.
pub trait RecurrentLm {
    /// The states before any text.
    ///
    /// # Errors
    /// [`crate::Error::TooLarge`].
    fn states(&self, gpu: &Gpu, batch: usize) -> Result<States>;

    /// Σ weightᵢ·lossᵢ, as (1), and the states after the window: targets (T·B) u32, weights (T·B). No
    /// `states` are those before any text.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    fn loss(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        states: &[(Tensor, Tensor)],
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<(Tensor, States)>;
}

/// Writes a sequence that it has read.
pub trait Autoencoder {
    /// Σ weightᵢ·lossᵢ, as (1), of writing `source`: `shifted` is what has been written before each of
    /// the targets (T·B) u32, weights (T·B).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    fn loss(
        &self,
        tape: &Tape,
        source: &Tokens<'_>,
        shifted: &Tokens<'_>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor>;
}

/// Classifies sequences and, at the same time, predicts their tokens.
pub trait JointObjective {
    /// The losses of both, (1) each. What is predicted of the text is what an autoencoder writes, with
    /// `shifted` before it, or else each next token: targets (T·B) u32, weights (T·B).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    fn losses(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        answers: &Answers<'_>,
        shifted: Option<&Tokens<'_>>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<[Tensor; 2]>;
}
