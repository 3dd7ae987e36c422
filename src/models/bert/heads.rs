//! What is trained on the encoder, and what is asked of it.

use super::{Bert, BertConfig, BertInputs, Pooler};
use crate::error::Result;
use crate::models::ProblemType;
use crate::models::heads::{classification_loss, normalise};
use crate::nn::{Dense, HiddenAct, LayerNorm, LoraPlan, Wanted};
use crate::ops::{self, RowSelection};
use crate::tensor::{ParamStore, Tape, Tensor};

/// The masked positions of a batch of N = B·T tokens, and what stood there.
#[derive(Clone, Copy)]
pub struct MaskedTokens<'a> {
    /// M positions in the flattened batch.
    pub rows: &'a RowSelection,
    /// (M) u32; `u32::MAX` does not count.
    pub targets: &'a Tensor,
    /// (M), of each prediction: 1 / their number for a mean.
    pub weights: &'a Tensor,
}

/// The layers between the encoder and the words.
struct Predictions {
    transform: Dense,
    act: HiddenAct,
    norm: LayerNorm,
    /// (V, C): the word embeddings, unless the configuration unties them.
    decoder: Tensor,
    bias: Tensor,
}

impl Predictions {
    fn new(
        store: &ParamStore,
        config: &BertConfig,
        plan: &LoraPlan,
        bert: &Bert,
    ) -> Result<Predictions> {
        let norm = "cls.predictions.transform.LayerNorm";
        Ok(Predictions {
            transform: Dense::new(store, &config.transform(), plan)?,
            act: config.hidden_act,
            norm: LayerNorm::new(store, norm, config.layer_norm_eps)?,
            decoder: match config.tie_word_embeddings {
                true => bert.words().clone(),
                false => store.get("cls.predictions.decoder.weight")?,
            },
            bias: store.get("cls.predictions.bias")?,
        })
    }

    /// hidden (M, C) → (M, C)
    fn features(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let transformed = self.transform.forward(tape, hidden)?;
        let transformed = self.act.forward(tape, &transformed)?;
        Ok(self.norm.forward(tape, &transformed, None)?.y)
    }

    /// hidden (M, C) at the masked positions → (1)
    fn loss(&self, tape: &Tape, hidden: &Tensor, masked: &MaskedTokens<'_>) -> Result<Tensor> {
        let x = self.features(tape, hidden)?;
        let (targets, weights) = (masked.targets, masked.weights);
        ops::linear_cross_entropy(tape, &x, &self.decoder, Some(&self.bias), targets, weights)
    }

    /// hidden (M, C) → (M, V)
    fn logits(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let x = self.features(tape, hidden)?;
        ops::linear(tape, &x, &self.decoder, Some(&self.bias))
    }
}

/// Predicts masked tokens (`BertForMaskedLM`).
pub struct BertForMaskedLm {
    /// The encoder.
    pub bert: Bert,
    predictions: Predictions,
}

impl BertForMaskedLm {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(store: &ParamStore, config: &BertConfig, plan: &LoraPlan) -> Result<Self> {
        let bert = Bert::new(store, config, plan)?;
        let predictions = Predictions::new(store, config, plan, &bert)?;
        Ok(BertForMaskedLm { bert, predictions })
    }

    /// Σ weightᵢ·lossᵢ over the masked positions, as (1). Logits exist a chunk of rows at a time.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn loss(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        masked: &MaskedTokens<'_>,
    ) -> Result<Tensor> {
        let wanted = Wanted::Rows(masked.rows.clone());
        let hidden = self.bert.forward(tape, inputs, &wanted)?;
        self.predictions.loss(tape, &hidden, masked)
    }

    /// Logits (M, V) at the selected positions of the flattened batch.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn logits(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        rows: &RowSelection,
    ) -> Result<Tensor> {
        let wanted = Wanted::Rows(rows.clone());
        let hidden = self.bert.forward(tape, inputs, &wanted)?;
        self.predictions.logits(tape, &hidden)
    }
}

/// Whether the second segment follows the first (0) or comes from elsewhere (1).
#[derive(Clone, Copy)]
pub struct NextSentence<'a> {
    /// (B) u32
    pub targets: &'a Tensor,
    /// (B)
    pub weights: &'a Tensor,
}

/// Masked LM and next-sentence prediction together (`BertForPreTraining`).
pub struct BertForPreTraining {
    /// The encoder.
    pub bert: Bert,
    predictions: Predictions,
    pooler: Pooler,
    next_sentence: Dense,
}

impl BertForPreTraining {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(store: &ParamStore, config: &BertConfig, plan: &LoraPlan) -> Result<Self> {
        let bert = Bert::new(store, config, plan)?;
        Ok(BertForPreTraining {
            predictions: Predictions::new(store, config, plan, &bert)?,
            pooler: Pooler::new(store, config, plan)?,
            next_sentence: Dense::new(store, &config.next_sentence(), plan)?,
            bert,
        })
    }

    /// The masked LM's loss and the next sentence's, (1) each; their sum is what BERT minimises.
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn losses(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        masked: &MaskedTokens<'_>,
        next: &NextSentence<'_>,
    ) -> Result<[Tensor; 2]> {
        let [words, first] = self.hidden(tape, inputs, masked.rows)?;
        let pooled = self.pooler.forward(tape, &first)?;
        let logits = self.next_sentence.forward(tape, &pooled)?;
        let next = ops::cross_entropy(tape, &logits, next.targets, next.weights)?;
        Ok([self.predictions.loss(tape, &words, masked)?, next])
    }

    /// Logits (M, V) at the selected positions, and of the next sentence (B, 2).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn logits(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        rows: &RowSelection,
    ) -> Result<[Tensor; 2]> {
        let [words, first] = self.hidden(tape, inputs, rows)?;
        let pooled = self.pooler.forward(tape, &first)?;
        Ok([
            self.predictions.logits(tape, &words)?,
            self.next_sentence.forward(tape, &pooled)?,
        ])
    }

    /// The encoder's output at the selected positions (M, C) and at each sequence's first (B, C), of
    /// which the last layer makes no more than these.
    fn hidden(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        rows: &RowSelection,
    ) -> Result<[Tensor; 2]> {
        let wanted = Wanted::FirstAnd(rows.clone());
        let hidden = self.bert.forward(tape, inputs, &wanted)?;
        let [batch, width] = [inputs.ids.ids().dims()[0], hidden.shape().last()];
        let flat = hidden.reshaped([1, hidden.len()])?;
        let part = |start, rows| {
            let part = ops::columns(tape, &flat, start * width, rows * width)?;
            part.reshaped([rows, width])
        };
        Ok([part(batch, rows.len())?, part(0, batch)?])
    }
}

/// Classifies whole sequences, or predicts numbers from them (`BertForSequenceClassification`).
pub struct BertForSequenceClassification {
    /// The encoder.
    pub bert: Bert,
    pooler: Pooler,
    classifier: Dense,
    dropout: f32,
    problem: ProblemType,
}

impl BertForSequenceClassification {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(store: &ParamStore, config: &BertConfig, plan: &LoraPlan) -> Result<Self> {
        Ok(BertForSequenceClassification {
            bert: Bert::new(store, config, plan)?,
            pooler: Pooler::new(store, config, plan)?,
            classifier: Dense::new(store, &config.classifier(), plan)?,
            dropout: config
                .classifier_dropout
                .unwrap_or(config.hidden_dropout_prob),
            problem: config.labels.problem(),
        })
    }

    /// The pooler's output (B, C).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn pooled(&self, tape: &Tape, inputs: &BertInputs<'_>) -> Result<Tensor> {
        let first = self.bert.forward(tape, inputs, &Wanted::First)?;
        self.pooler.forward(tape, &first)
    }

    /// Logits (B, K).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn logits(&self, tape: &Tape, inputs: &BertInputs<'_>) -> Result<Tensor> {
        let pooled = self.pooled(tape, inputs)?;
        let pooled = ops::dropout(tape, &pooled, self.dropout)?;
        self.classifier.forward(tape, &pooled)
    }

    /// The loss, as (1): `targets` (B) u32 classes, or (B, K) f32 for several labels and for
    /// numbers; `weights` (B).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn loss(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let logits = self.logits(tape, inputs)?;
        classification_loss(tape, self.problem, &logits, targets, weights)
    }
}

/// Classifies every token (`BertForTokenClassification`).
pub struct BertForTokenClassification {
    /// The encoder.
    pub bert: Bert,
    classifier: Dense,
    dropout: f32,
}

impl BertForTokenClassification {
    /// The model whose parameters stand in `store`.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(store: &ParamStore, config: &BertConfig, plan: &LoraPlan) -> Result<Self> {
        Ok(BertForTokenClassification {
            bert: Bert::new(store, config, plan)?,
            classifier: Dense::new(store, &config.classifier(), plan)?,
            dropout: config
                .classifier_dropout
                .unwrap_or(config.hidden_dropout_prob),
        })
    }

    /// Logits (B, T, K).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn logits(&self, tape: &Tape, inputs: &BertInputs<'_>) -> Result<Tensor> {
        let hidden = self.bert.forward(tape, inputs, &Wanted::All)?;
        let hidden = ops::dropout(tape, &hidden, self.dropout)?;
        self.classifier.forward(tape, &hidden)
    }

    /// Σ weightᵢ·lossᵢ, as (1): targets (B·T) u32, of which `u32::MAX` does not count; weights
    /// (B·T).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn loss(
        &self,
        tape: &Tape,
        inputs: &BertInputs<'_>,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let logits = self.logits(tape, inputs)?;
        let flat = logits.reshaped([logits.shape().rows(), logits.shape().last()])?;
        ops::cross_entropy(tape, &flat, targets, weights)
    }
}

/// How the tokens of a sequence become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// The mean over the tokens that count.
    Mean,
}

/// One vector for a sequence, as sentence-transformers makes them.
pub struct SentenceEmbedder {
    /// The encoder.
    pub bert: Bert,
    pooling: Pooling,
    normalised: bool,
}

impl SentenceEmbedder {
    /// The model whose parameters stand in `store`; `normalised` gives every vector length 1.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(
        store: &ParamStore,
        config: &BertConfig,
        plan: &LoraPlan,
        pooling: Pooling,
        normalised: bool,
    ) -> Result<Self> {
        Ok(SentenceEmbedder {
            bert: Bert::new(store, config, plan)?,
            pooling,
            normalised,
        })
    }

    /// (B, C)
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, tape: &Tape, inputs: &BertInputs<'_>) -> Result<Tensor> {
        let pooled = match self.pooling {
            Pooling::Cls => self.bert.forward(tape, inputs, &Wanted::First)?,
            Pooling::Mean => {
                let hidden = self.bert.forward(tape, inputs, &Wanted::All)?;
                ops::mean_pool(tape, &hidden, inputs.lens)?
            }
        };
        match self.normalised {
            true => normalise(tape, &pooled),
            false => Ok(pooled),
        }
    }
}
