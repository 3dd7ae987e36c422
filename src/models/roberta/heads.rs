//! The heads of RoBERTa, declared under the names of transformers' classes.

use super::{RobertaConfig, encoder};
use crate::error::Result;
use crate::models::bert::{decoder, labels, linear, pooler};
use crate::models::encoder::{
    EncoderClassifier, EncoderMaskedLm, EncoderTagger, PooledEncoder, SequenceHead, TextEncoder,
    WordHead,
};
use crate::nn::{HiddenAct, Vars};
use crate::ops::Unary;
use crate::tensor::{Depth, Init};

/// The encoder, declared under `roberta.`.
pub(super) fn roberta(v: &Vars, config: &RobertaConfig) -> Result<TextEncoder> {
    encoder(&v.at("roberta").depth(Depth::Top), config)
}

/// Declares the encoder with its pooler.
///
/// # Errors
/// As [`encoder`].
pub fn pooled(v: &Vars, config: &RobertaConfig) -> Result<PooledEncoder> {
    Ok(PooledEncoder {
        encoder: roberta(v, config)?,
        pooler: pooler(&v.at("roberta"), &config.bert)?,
    })
}

/// Declares a masked LM.
///
/// # Errors
/// As [`encoder`].
pub fn masked_lm(v: &Vars, config: &RobertaConfig) -> Result<EncoderMaskedLm> {
    let encoder = roberta(v, config)?;
    let (v, config) = (v.at("lm_head"), &config.bert);
    let (vocabulary, width) = (config.vocab_size, config.hidden_size);
    let transform = linear(&v, config, "dense", width, width)?;
    let norm = v.layer_norm("layer_norm", width, config.layer_norm_eps)?;
    let bias = v.param("bias", [vocabulary], Init::Constant(0.0))?;
    Ok(EncoderMaskedLm {
        head: WordHead {
            transform,
            // Whatever the layers have.
            act: HiddenAct::Gelu,
            norm,
            decoder: decoder(&v, config, &encoder)?,
            bias,
        },
        encoder,
    })
}

/// Declares a classifier of sequences.
///
/// # Errors
/// As [`encoder`].
pub fn classifier(v: &Vars, config: &RobertaConfig) -> Result<EncoderClassifier> {
    let encoder = roberta(v, config)?;
    let (v, config) = (v.at("classifier"), &config.bert);
    let (width, labels) = (config.hidden_size, config.labels.count());
    let dense = linear(&v, config, "dense", width, width)?;
    v.module("dropout");
    let output = linear(&v, config, "out_proj", width, labels)?;
    let dropout = config.classifier_dropout;
    let dropout = dropout.unwrap_or(config.hidden_dropout_prob);
    Ok(EncoderClassifier {
        encoder,
        head: SequenceHead {
            first_dropout: dropout,
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
pub fn tagger(v: &Vars, config: &RobertaConfig) -> Result<EncoderTagger> {
    let encoder = roberta(v, config)?;
    let (classifier, dropout) = labels(v, &config.bert)?;
    Ok(EncoderTagger {
        encoder,
        classifier,
        dropout,
    })
}
