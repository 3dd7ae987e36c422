//! What is trained on the encoder, and what is asked of it.

use super::{Bert, BertConfig};
use crate::error::Result;
use crate::models::inputs::{MaskedTokens, NextSentence, Tokens};
use crate::models::network::{Classifier, Encoder, MaskedLm, MaskedNextSentence, Network, Tagger};
use crate::nn::{HiddenAct, LayerNorm, Linear, LinearShape, Param, Vars, Wanted};
use crate::ops::{self, RowSelection, Unary};
use crate::tensor::{Depth, Init, Tape, Tensor};

fn linear(
    v: &Vars,
    config: &BertConfig,
    name: &str,
    inputs: usize,
    outputs: usize,
) -> Result<Linear> {
    let std = config.initializer_range;
    v.linear_of(name, LinearShape::new(inputs, outputs).normal(std))
}

/// The encoder, declared under `bert.`.
fn bert(v: &Vars, config: &BertConfig) -> Result<Bert> {
    Bert::new(&v.at("bert").depth(Depth::Top), config)
}

/// tanh of a linear layer on each sequence's first token.
struct Pooler(Linear);

impl Pooler {
    fn new(v: &Vars, config: &BertConfig) -> Result<Pooler> {
        let (v, width) = (v.at("bert.pooler").depth(Depth::Top), config.hidden_size);
        let dense = linear(&v, config, "dense", width, width)?;
        v.module("activation");
        Ok(Pooler(dense))
    }

    /// first (B, C) → (B, C)
    fn forward(&self, tape: &Tape, first: &Tensor) -> Result<Tensor> {
        ops::unary(tape, &self.0.forward(tape, first)?, Unary::Tanh)
    }
}

/// The layers between the encoder and the words.
struct Predictions {
    transform: Linear,
    act: HiddenAct,
    norm: LayerNorm,
    /// (V, C): the word embeddings, unless the configuration unties them.
    decoder: Param,
    bias: Param,
}

impl Predictions {
    fn transform(v: &Vars, config: &BertConfig) -> Result<Linear> {
        let (v, width) = (v.at("cls.predictions.transform"), config.hidden_size);
        linear(&v, config, "dense", width, width)
    }

    /// What follows `transform`.
    fn new(v: &Vars, config: &BertConfig, bert: &Bert, transform: Linear) -> Result<Predictions> {
        let v = v.at("cls.predictions");
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let norm = v.layer_norm("transform.LayerNorm", width, config.layer_norm_eps)?;
        v.module("transform.transform_act_fn");
        let bias = v.param("bias", [vocabulary], Init::Constant(0.0))?;
        let decoder = if config.tie_word_embeddings {
            v.module("decoder");
            bert.words().clone()
        } else {
            let init = Init::Normal(config.initializer_range);
            v.embedding("decoder", vocabulary, width, init)?.weight
        };
        Ok(Predictions {
            transform,
            act: config.hidden_act,
            norm,
            decoder,
            bias,
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
        let (decoder, bias) = (self.decoder.get()?, self.bias.get()?);
        let (targets, weights) = (masked.targets, masked.weights);
        ops::linear_cross_entropy(tape, &x, &decoder, Some(&bias), targets, weights)
    }

    /// hidden (M, C) → (M, V)
    fn logits(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        let x = self.features(tape, hidden)?;
        ops::linear(tape, &x, &self.decoder.get()?, Some(&self.bias.get()?))
    }
}

/// The encoder with its pooler (`BertModel`).
pub struct BertModel {
    /// The encoder.
    pub bert: Bert,
    pooler: Pooler,
}

impl BertModel {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Self> {
        Ok(BertModel {
            bert: bert(v, config)?,
            pooler: Pooler::new(v, config)?,
        })
    }

    /// The pooler's output (B, C).
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn pooled(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let first = self.bert.forward(tape, inputs, &Wanted::First)?;
        self.pooler.forward(tape, &first)
    }
}

impl Network for BertModel {
    fn set_checkpointing(&mut self, on: bool) {
        self.bert.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.bert)
    }
}

/// Predicts masked tokens (`BertForMaskedLM`).
pub struct BertForMaskedLm {
    /// The encoder.
    pub bert: Bert,
    predictions: Predictions,
}

impl BertForMaskedLm {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Self> {
        let bert = bert(v, config)?;
        let transform = Predictions::transform(v, config)?;
        Ok(BertForMaskedLm {
            predictions: Predictions::new(v, config, &bert, transform)?,
            bert,
        })
    }
}

impl Network for BertForMaskedLm {
    fn set_checkpointing(&mut self, on: bool) {
        self.bert.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.bert)
    }

    fn as_masked_lm(&self) -> Option<&dyn MaskedLm> {
        Some(self)
    }
}

impl MaskedLm for BertForMaskedLm {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<Tensor> {
        let wanted = Wanted::Rows(rows.clone());
        let hidden = self.bert.forward(tape, inputs, &wanted)?;
        self.predictions.logits(tape, &hidden)
    }

    fn loss(&self, tape: &Tape, inputs: &Tokens<'_>, masked: &MaskedTokens<'_>) -> Result<Tensor> {
        let wanted = Wanted::Rows(masked.rows.clone());
        let hidden = self.bert.forward(tape, inputs, &wanted)?;
        self.predictions.loss(tape, &hidden, masked)
    }
}

/// Masked LM and next-sentence prediction together (`BertForPreTraining`).
pub struct BertForPreTraining {
    /// The encoder.
    pub bert: Bert,
    predictions: Predictions,
    pooler: Pooler,
    next_sentence: Linear,
}

impl BertForPreTraining {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Self> {
        let bert = bert(v, config)?;
        let pooler = Pooler::new(v, config)?;
        let transform = Predictions::transform(v, config)?;
        Ok(BertForPreTraining {
            pooler,
            next_sentence: linear(
                &v.at("cls"),
                config,
                "seq_relationship",
                config.hidden_size,
                2,
            )?,
            predictions: Predictions::new(v, config, &bert, transform)?,
            bert,
        })
    }

    /// The encoder's output at the selected positions (M, C) and at each sequence's first (B, C), of
    /// which the last layer makes no more than these.
    fn hidden(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<[Tensor; 2]> {
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

impl Network for BertForPreTraining {
    fn set_checkpointing(&mut self, on: bool) {
        self.bert.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.bert)
    }

    fn as_next_sentence(&self) -> Option<&dyn MaskedNextSentence> {
        Some(self)
    }
}

impl MaskedNextSentence for BertForPreTraining {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<[Tensor; 2]> {
        let [words, first] = self.hidden(tape, inputs, rows)?;
        let pooled = self.pooler.forward(tape, &first)?;
        Ok([
            self.predictions.logits(tape, &words)?,
            self.next_sentence.forward(tape, &pooled)?,
        ])
    }

    fn losses(
        &self,
        tape: &Tape,
        inputs: &Tokens<'_>,
        masked: &MaskedTokens<'_>,
        next: &NextSentence<'_>,
    ) -> Result<[Tensor; 2]> {
        let [words, first] = self.hidden(tape, inputs, masked.rows)?;
        let pooled = self.pooler.forward(tape, &first)?;
        let logits = self.next_sentence.forward(tape, &pooled)?;
        let next = ops::cross_entropy(tape, &logits, next.targets, next.weights)?;
        Ok([self.predictions.loss(tape, &words, masked)?, next])
    }
}

/// Classifies whole sequences, or predicts numbers from them (`BertForSequenceClassification`).
pub struct BertForSequenceClassification {
    /// The encoder with its pooler.
    pub base: BertModel,
    classifier: Linear,
    dropout: f32,
}

impl BertForSequenceClassification {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Self> {
        let base = BertModel::new(v, config)?;
        let (classifier, dropout) = classifier(v, config)?;
        Ok(BertForSequenceClassification {
            base,
            classifier,
            dropout,
        })
    }
}

/// The output layer for labels, and the dropout before it.
fn classifier(v: &Vars, config: &BertConfig) -> Result<(Linear, f32)> {
    let labels = config.labels.count();
    let layer = linear(v, config, "classifier", config.hidden_size, labels)?;
    v.module("dropout");
    let dropout = config.classifier_dropout;
    Ok((layer, dropout.unwrap_or(config.hidden_dropout_prob)))
}

impl Network for BertForSequenceClassification {
    fn set_checkpointing(&mut self, on: bool) {
        self.base.bert.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.base.bert)
    }

    fn as_classifier(&self) -> Option<&dyn Classifier> {
        Some(self)
    }
}

impl Classifier for BertForSequenceClassification {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let pooled = self.base.pooled(tape, inputs)?;
        let pooled = ops::dropout(tape, &pooled, self.dropout)?;
        self.classifier.forward(tape, &pooled)
    }
}

/// Classifies every token (`BertForTokenClassification`).
pub struct BertForTokenClassification {
    /// The encoder.
    pub bert: Bert,
    classifier: Linear,
    dropout: f32,
}

impl BertForTokenClassification {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`Bert::new`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Self> {
        let bert = bert(v, config)?;
        let (classifier, dropout) = classifier(v, config)?;
        Ok(BertForTokenClassification {
            bert,
            classifier,
            dropout,
        })
    }
}

impl Network for BertForTokenClassification {
    fn set_checkpointing(&mut self, on: bool) {
        self.bert.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.bert)
    }

    fn as_tagger(&self) -> Option<&dyn Tagger> {
        Some(self)
    }
}

impl Tagger for BertForTokenClassification {
    fn logits(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let hidden = self.bert.forward(tape, inputs, &Wanted::All)?;
        let hidden = ops::dropout(tape, &hidden, self.dropout)?;
        self.classifier.forward(tape, &hidden)
    }
}
