//! Transformers of a run file.

use serde::{Deserialize, Serialize};

use super::ModelKind;
use crate::error::Result;
use crate::models::{Family, most};
use crate::nn::HiddenAct;
use crate::schema;
use crate::train::config::model::require_probability;
use crate::train::config::validate::{require, wrong};

/// The keys of a stage that are for transformers.
const KEYS: &[&str] = &["precision", "checkpointing", "lora"];

/// What a family is good for: what its heads learn.
pub(super) fn kind(family: &'static dyn Family) -> ModelKind {
    let format = family.format();
    ModelKind {
        name: format.model_type,
        keys: KEYS,
        pairs: true,
        learns: Box::new(|o| o.head().and_then(|head| format.class(head)).is_some()),
        sizes: || schema::keys(TransformerModel::deserialize),
    }
}

/// The kind of a model from a folder, in the run file.
pub(super) const PRETRAINED: &str = "pretrained";

/// What a model from a folder may be good for: which it is shows when the folder is opened.
pub(super) fn pretrained() -> ModelKind {
    ModelKind {
        name: PRETRAINED,
        keys: KEYS,
        pairs: true,
        learns: Box::new(|o| o.head().is_some()),
        sizes: || schema::keys(PretrainedModel::deserialize),
    }
}

/// A transformer; the defaults are those of the base size of Devlin et al. (2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerModel {
    /// Width of a token's vector.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads of a layer; they divide `hidden`.
    pub heads: usize,
    /// Width of the feed-forward part; absent: 4 × `hidden`.
    pub feed_forward: Option<usize>,
    /// Longest sequence.
    pub max_positions: usize,
    /// Function of the feed-forward part, by its name in transformers; absent: the kind's own.
    pub activation: Option<HiddenAct>,
    /// Added to the variance that LayerNorm divides by; absent: the kind's own.
    pub norm_eps: Option<f32>,
    /// Probability of dropping units of embeddings and of each part's output.
    pub dropout: f32,
    /// Probability of dropping attention weights.
    pub attention_dropout: f32,
    /// Probability of dropping units before a new head; absent: `dropout`.
    pub classifier_dropout: Option<f32>,
}

impl Default for TransformerModel {
    fn default() -> Self {
        Self {
            hidden: 768,
            layers: 12,
            heads: 12,
            feed_forward: None,
            max_positions: 512,
            activation: None,
            norm_eps: None,
            dropout: 0.1,
            attention_dropout: 0.1,
            classifier_dropout: None,
        }
    }
}

impl TransformerModel {
    /// Width of the feed-forward part.
    pub fn feed_forward(&self) -> usize {
        self.feed_forward.unwrap_or(self.hidden.saturating_mul(4))
    }

    /// Checks the sizes.
    pub(super) fn check(&self) -> Result<()> {
        let at = |key: &str| format!("model.{key}");
        for (key, value, most) in [
            ("hidden", self.hidden, most::WIDTH),
            ("layers", self.layers, most::LAYERS),
            ("heads", self.heads, most::WIDTH),
            ("feed_forward", self.feed_forward(), most::FEED_FORWARD),
            ("max_positions", self.max_positions, most::POSITIONS),
        ] {
            require(value >= 1, || at(key), "should be at least 1")?;
            let pair = key != "max_positions" || value >= 5;
            require(
                pair,
                || at(key),
                "should be at least 5: [CLS] a [SEP] b [SEP]",
            )?;
            if value > most {
                return Err(wrong(at(key), format!("should be at most {most}")));
            }
        }
        require(
            self.hidden.is_multiple_of(self.heads),
            || at("heads"),
            &format!("should divide hidden = {}", self.hidden),
        )?;
        require(
            self.norm_eps.is_none_or(|e| e > 0.0 && e.is_finite()),
            || at("norm_eps"),
            "should be a positive number",
        )?;
        let (dropout, attention) = (Some(self.dropout), Some(self.attention_dropout));
        check_dropouts(dropout, attention, self.classifier_dropout)
    }
}

/// What a run may change about a model that it takes from a folder; absent: as in its config.json.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainedModel {
    /// Probability of dropping units of embeddings and of each part's output.
    pub dropout: Option<f32>,
    /// Probability of dropping attention weights.
    pub attention_dropout: Option<f32>,
    /// Probability of dropping units before a new head.
    pub classifier_dropout: Option<f32>,
}

impl PretrainedModel {
    /// Checks what is changed.
    pub(super) fn check(&self) -> Result<()> {
        check_dropouts(
            self.dropout,
            self.attention_dropout,
            self.classifier_dropout,
        )
    }
}

fn check_dropouts(
    dropout: Option<f32>,
    attention: Option<f32>,
    classifier: Option<f32>,
) -> Result<()> {
    for (key, p) in [
        ("dropout", dropout),
        ("attention_dropout", attention),
        ("classifier_dropout", classifier),
    ] {
        require_probability(p.unwrap_or(0.0).into(), || format!("model.{key}"))?;
    }
    Ok(())
}
