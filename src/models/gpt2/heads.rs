//! What is trained on the layers, and what is asked of them.

use super::{Gpt2, Gpt2Config};
use crate::error::Result;
use crate::models::ProblemType;
use crate::models::heads::classification_loss;
use crate::nn::{Dense, LoraPlan, Wanted};
use crate::ops::{self, RowSelection, TokenIds};
use crate::tensor::{ParamStore, Tape, Tensor};

/// Predicts every next token (`GPT2LMHeadModel`).
pub struct Gpt2LmHead {
    /// The layers.
    pub gpt2: Gpt2,
    /// (V, C): the word embeddings, unless the configuration unties them.
    decoder: Tensor,
}

impl Gpt2LmHead {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// As [`Gpt2::new`].
    pub fn new(store: &ParamStore, config: &Gpt2Config, plan: &LoraPlan) -> Result<Self> {
        let gpt2 = Gpt2::new(store, config, plan)?;
        let decoder = match config.tie_word_embeddings {
            true => gpt2.words().clone(),
            false => store.get("lm_head.weight")?,
        };
        Ok(Gpt2LmHead { gpt2, decoder })
    }

    /// Σ weightᵢ·lossᵢ, as (1): ids (B, T); targets (B·T) u32, at each position the token after
    /// it, `u32::MAX` where none counts; weights (B·T).
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn loss(
        &self,
        tape: &Tape,
        ids: &TokenIds,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let hidden = self.gpt2.forward(tape, ids, &Wanted::All)?;
        let flat = hidden.reshaped([hidden.shape().rows(), hidden.shape().last()])?;
        ops::linear_cross_entropy(tape, &flat, &self.decoder, None, targets, weights)
    }

    /// Logits (M, V) at the selected positions of the flattened batch.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn logits(&self, tape: &Tape, ids: &TokenIds, rows: &RowSelection) -> Result<Tensor> {
        let hidden = self.gpt2.forward(tape, ids, &Wanted::Rows(rows.clone()))?;
        self.decode(tape, &hidden)
    }

    /// Logits (M, V) of hidden states (M, C).
    pub(super) fn decode(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        ops::linear(tape, hidden, &self.decoder, None)
    }
}

/// Classifies whole sequences by their last token, or predicts numbers from it
/// (`GPT2ForSequenceClassification`).
pub struct Gpt2ForSequenceClassification {
    /// The layers.
    pub gpt2: Gpt2,
    score: Dense,
    problem: ProblemType,
}

impl Gpt2ForSequenceClassification {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// As [`Gpt2::new`].
    pub fn new(store: &ParamStore, config: &Gpt2Config, plan: &LoraPlan) -> Result<Self> {
        Ok(Gpt2ForSequenceClassification {
            gpt2: Gpt2::new(store, config, plan)?,
            score: Dense::new(store, &config.score(), plan)?,
            problem: config.labels.problem(),
        })
    }

    /// Logits (B, K), for ids (B, T) whose rows' last tokens stand at the positions `last` of the
    /// flattened batch: row b's is b·T + its length − 1.
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn logits(&self, tape: &Tape, ids: &TokenIds, last: &RowSelection) -> Result<Tensor> {
        let wanted = Wanted::Rows(last.clone());
        let hidden = self.gpt2.forward(tape, ids, &wanted)?;
        self.score.forward(tape, &hidden)
    }

    /// The loss, as (1): `targets` (B) u32 classes, or (B, K) f32 for several labels and for
    /// numbers; `weights` (B).
    ///
    /// # Errors
    /// As [`Gpt2::forward`].
    pub fn loss(
        &self,
        tape: &Tape,
        ids: &TokenIds,
        last: &RowSelection,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let logits = self.logits(tape, ids, last)?;
        classification_loss(tape, self.problem, &logits, targets, weights)
    }
}
