//! The heads of BERT, declared under the names of transformers' classes.

use super::{BertConfig, encoder};
use crate::error::Result;
use crate::models::encoder::{
    EncoderClassifier, EncoderMaskedLm, EncoderTagger, PooledEncoder, Pooler, SequenceHead,
    TextEncoder, WordHead,
};
use crate::models::inputs::{MaskedTokens, NextSentence, Tokens};
use crate::models::network::{Encoder, MaskedNextSentence, Network};
use crate::nn::{Linear, LinearShape, Param, Vars, Wanted};
use crate::ops::{self, RowSelection, Unary};
use crate::tensor::{Depth, Init, Tape, Tensor};

/// A linear layer that starts as BERT's do.
pub(in crate::models) fn linear(
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
fn bert(v: &Vars, config: &BertConfig) -> Result<TextEncoder> {
    encoder(&v.at("bert").depth(Depth::Top), config)
}

/// The pooler of an encoder that is declared under `v`.
pub(in crate::models) fn pooler(v: &Vars, config: &BertConfig) -> Result<Pooler> {
    let (v, width) = (v.at("pooler").depth(Depth::Top), config.hidden_size);
    let dense = linear(&v, config, "dense", width, width)?;
    v.module("activation");
    Ok(Pooler(dense))
}

fn transform(v: &Vars, config: &BertConfig) -> Result<Linear> {
    let (v, width) = (v.at("cls.predictions.transform"), config.hidden_size);
    linear(&v, config, "dense", width, width)
}

/// The words' head, of which `transform` stands already.
fn word_head(
    v: &Vars,
    config: &BertConfig,
    bert: &TextEncoder,
    transform: Linear,
) -> Result<WordHead> {
    let v = v.at("cls.predictions");
    let (vocabulary, width) = (config.vocab_size, config.hidden_size);
    let norm = v.layer_norm("transform.LayerNorm", width, config.layer_norm_eps)?;
    v.module("transform.transform_act_fn");
    let bias = v.param("bias", [vocabulary], Init::Constant(0.0))?;
    Ok(WordHead {
        transform,
        act: config.hidden_act,
        norm,
        decoder: decoder(&v, config, bert)?,
        bias,
    })
}

/// The output layer for words: their embeddings, unless the configuration unties them.
pub(in crate::models) fn decoder(
    v: &Vars,
    config: &BertConfig,
    bert: &TextEncoder,
) -> Result<Param> {
    if config.tie_word_embeddings {
        v.module("decoder");
        return Ok(bert.words.clone());
    }
    let (vocabulary, width) = (config.vocab_size, config.hidden_size);
    let init = Init::Normal(config.initializer_range);
    Ok(v.embedding("decoder", vocabulary, width, init)?.weight)
}

/// The output layer for labels, and the dropout before it.
pub(in crate::models) fn labels(v: &Vars, config: &BertConfig) -> Result<(Linear, f32)> {
    let labels = config.labels.count();
    let layer = linear(v, config, "classifier", config.hidden_size, labels)?;
    v.module("dropout");
    let dropout = config.classifier_dropout;
    Ok((layer, dropout.unwrap_or(config.hidden_dropout_prob)))
}

/// Declares the encoder with its pooler.
///
/// # Errors
/// As [`encoder`].
pub fn pooled(v: &Vars, config: &BertConfig) -> Result<PooledEncoder> {
    Ok(PooledEncoder {
        encoder: bert(v, config)?,
        pooler: pooler(&v.at("bert"), config)?,
    })
}

/// Declares a masked LM.
///
/// # Errors
/// As [`encoder`].
pub fn masked_lm(v: &Vars, config: &BertConfig) -> Result<EncoderMaskedLm> {
    let encoder = bert(v, config)?;
    let transform = transform(v, config)?;
    Ok(EncoderMaskedLm {
        head: word_head(v, config, &encoder, transform)?,
        encoder,
    })
}

/// Declares a classifier of sequences.
///
/// # Errors
/// As [`encoder`].
pub fn classifier(v: &Vars, config: &BertConfig) -> Result<EncoderClassifier> {
    let encoder = bert(v, config)?;
    let Pooler(dense) = pooler(&v.at("bert"), config)?;
    let (output, dropout) = labels(v, config)?;
    Ok(EncoderClassifier {
        encoder,
        head: SequenceHead {
            first_dropout: 0.0,
            dense,
            act: Unary::Tanh,
            dropout,
            output,
        },
    })
}

/// Declares a classifier of tokens.
///
/// # Errors
/// As [`encoder`].
pub fn tagger(v: &Vars, config: &BertConfig) -> Result<EncoderTagger> {
    let encoder = bert(v, config)?;
    let (classifier, dropout) = labels(v, config)?;
    Ok(EncoderTagger {
        encoder,
        classifier,
        dropout,
    })
}

/// Masked LM and next-sentence prediction together.
pub struct BertForPreTraining {
    /// The encoder.
    pub encoder: TextEncoder,
    predictions: WordHead,
    pooler: Pooler,
    next_sentence: Linear,
}

impl BertForPreTraining {
    /// Declares the model.
    ///
    /// # Errors
    /// As [`encoder`].
    pub fn new(v: &Vars, config: &BertConfig) -> Result<Self> {
        let encoder = bert(v, config)?;
        let pooler = pooler(&v.at("bert"), config)?;
        let transform = transform(v, config)?;
        let cls = v.at("cls");
        Ok(BertForPreTraining {
            pooler,
            next_sentence: linear(&cls, config, "seq_relationship", config.hidden_size, 2)?,
            predictions: word_head(v, config, &encoder, transform)?,
            encoder,
        })
    }

    /// The encoder's output at the selected positions (M, C) and at each sequence's first (B, C), of
    /// which the last layer makes no more than these.
    fn hidden(&self, tape: &Tape, inputs: &Tokens<'_>, rows: &RowSelection) -> Result<[Tensor; 2]> {
        let wanted = Wanted::FirstAnd(rows.clone());
        let hidden = self.encoder.forward(tape, inputs, &wanted)?;
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
        self.encoder.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(&self.encoder)
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
