//! The heads of DistilBERT, declared under the names of transformers' classes.

use super::{DistilBertConfig, NORM_EPS, encoder, linear};
use crate::error::Result;
use crate::models::encoder::{
    EncoderClassifier, EncoderMaskedLm, EncoderTagger, SequenceHead, TextEncoder, WordHead,
};
use crate::nn::{Linear, Vars};
use crate::ops::Unary;
use crate::tensor::{Depth, Init};

/// The encoder, declared under `distilbert.`.
pub(super) fn distilbert(v: &Vars, config: &DistilBertConfig) -> Result<TextEncoder> {
    encoder(&v.at("distilbert").depth(Depth::Top), config)
}

/// The output layer for labels.
fn labels(v: &Vars, config: &DistilBertConfig) -> Result<Linear> {
    let labels = config.labels.count();
    let layer = linear(v, config, "classifier", config.dim, labels)?;
    v.module("dropout");
    Ok(layer)
}

/// Declares a masked LM.
///
/// # Errors
/// As [`encoder`].
pub fn masked_lm(v: &Vars, config: &DistilBertConfig) -> Result<EncoderMaskedLm> {
    let encoder = distilbert(v, config)?;
    let (vocabulary, width) = (config.vocab_size, config.dim);
    v.module("activation");
    let transform = linear(v, config, "vocab_transform", width, width)?;
    let norm = v.layer_norm("vocab_layer_norm", width, NORM_EPS)?;
    let projector = v.at("vocab_projector");
    let decoder = if config.tie_word_embeddings {
        encoder.words.clone()
    } else {
        let init = Init::Normal(config.initializer_range);
        projector.param("weight", [vocabulary, width], init)?
    };
    let bias = projector.param("bias", [vocabulary], Init::Constant(0.0))?;
    v.module("mlm_loss_fct");
    Ok(EncoderMaskedLm {
        encoder,
        head: WordHead {
            transform,
            act: config.activation,
            norm,
            decoder,
            bias,
        },
    })
}

/// Declares a classifier of sequences.
///
/// # Errors
/// As [`encoder`].
pub fn classifier(v: &Vars, config: &DistilBertConfig) -> Result<EncoderClassifier> {
    let encoder = distilbert(v, config)?;
    let dense = linear(v, config, "pre_classifier", config.dim, config.dim)?;
    Ok(EncoderClassifier {
        encoder,
        head: SequenceHead {
            first_dropout: 0.0,
            dense,
            act: Unary::Relu,
            dropout: config.seq_classif_dropout,
            output: labels(v, config)?,
        },
    })
}

/// Declares a classifier of tokens.
///
/// # Errors
/// As [`encoder`].
pub fn tagger(v: &Vars, config: &DistilBertConfig) -> Result<EncoderTagger> {
    Ok(EncoderTagger {
        encoder: distilbert(v, config)?,
        classifier: labels(v, config)?,
        dropout: config.dropout,
    })
}
