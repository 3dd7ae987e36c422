//! DistilBERT as a family: its files, its heads.

use serde_json::{Value, json};

use super::heads::distilbert;
use super::{DistilBertConfig, classifier, masked_lm, tagger};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{LEGACY_NORMS, class, declared, no_head, written};
use crate::models::{Config, Dropouts, Extent, Family, Labels, Network, Sizes};
use crate::nn::Vars;
use crate::text::tokenizer::Family as Specials;

/// DistilBERT.
pub struct DistilBertFamily;

/// DistilBERT, for the list of families.
pub static DISTILBERT: DistilBertFamily = DistilBertFamily;

static FORMAT: Format = Format {
    model_type: "distilbert",
    module: "transformers.models.distilbert.modeling_distilbert",
    classes: &[
        class(
            Head::MaskedLm,
            "DistilBertForMaskedLM",
            &["vocab_transform.weight"],
        ),
        class(
            Head::Sequence,
            "DistilBertForSequenceClassification",
            &["pre_classifier.weight"],
        ),
        class(
            Head::Token,
            "DistilBertForTokenClassification",
            &["classifier.weight"],
        ),
        class(Head::Base, "DistilBertModel", &[]),
    ],
    prefix: "distilbert.",
    roots: &["embeddings.", "transformer."],
    legacy: LEGACY_NORMS,
    buffers: &["distilbert.embeddings.position_ids"],
    tied: &[(
        "vocab_projector.weight",
        "distilbert.embeddings.word_embeddings.weight",
    )],
    vocabulary: &[
        "distilbert.embeddings.word_embeddings.weight",
        "vocab_projector.bias",
    ],
    positions: &["distilbert.embeddings.position_embeddings.weight"],
    label_layers: &["classifier"],
    optional: &[],
    targets: &["q_lin", "v_lin"],
    gguf: None,
    told: |_| None,
    shaped: None,
    defaults,
    declare: |json, head| declared(&DistilBertConfig::from_json(json)?, head),
};

impl Family for DistilBertFamily {
    fn title(&self) -> &'static str {
        "DistilBERT"
    }

    fn specials(&self) -> Specials {
        Specials::Bert
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(DistilBertConfig::from_json(json)?))
    }

    /// Norms have one epsilon, whatever the sizes say.
    fn sized(&self, s: &Sizes) -> Option<Box<dyn Config>> {
        let default = DistilBertConfig::default();
        let mut config = DistilBertConfig {
            vocab_size: s.vocabulary,
            dim: s.hidden,
            n_layers: s.layers,
            n_heads: s.heads,
            hidden_dim: s.feed_forward.unwrap_or(4 * s.hidden),
            activation: s.activation.unwrap_or(default.activation),
            max_position_embeddings: s.positions,
            pad_token_id: s.pad,
            ..default
        };
        config.set_dropouts(&s.dropout);
        Some(Box::new(config))
    }
}

impl Config for DistilBertConfig {
    fn family(&self) -> &'static dyn Family {
        &DISTILBERT
    }

    fn to_json(&self) -> Value {
        written(FORMAT.model_type, self)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn positions(&self) -> usize {
        self.max_position_embeddings
    }

    fn extent(&self) -> Extent {
        Extent::transformer(self.n_layers, self.dim, self.hidden_dim, self.dim)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    fn set_dropouts(&mut self, d: &Dropouts) {
        self.dropout = d.hidden.unwrap_or(self.dropout);
        self.attention_dropout = d.attention.unwrap_or(self.attention_dropout);
        self.seq_classif_dropout = d.classifier.unwrap_or(self.seq_classif_dropout);
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        Ok(match head {
            Head::Layers | Head::Base => Box::new(distilbert(v, self)?),
            Head::MaskedLm => Box::new(masked_lm(v, self)?),
            Head::Sequence => Box::new(classifier(v, self)?),
            Head::Token => Box::new(tagger(v, self)?),
            _ => return Err(no_head(&DISTILBERT)),
        })
    }
}

fn defaults() -> Value {
    json!({
        "activation": "gelu",
        "attention_dropout": 0.1,
        "bos_token_id": null,
        "dim": 768,
        "dropout": 0.1,
        "eos_token_id": null,
        "hidden_dim": 3072,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "model_type": "distilbert",
        "n_heads": 12,
        "n_layers": 6,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": false,
        "tie_word_embeddings": true,
        "vocab_size": 30522,
    })
}
