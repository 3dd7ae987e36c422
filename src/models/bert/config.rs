//! `config.json` of a BERT model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::models::Labels;
use crate::models::config::{
    heads_divide, most, parsed, probabilities, shortest, shortest_option, sizes, unsupported,
};
use crate::nn::HiddenAct;

/// The fields of Hugging Face's `config.json` with its defaults (BERT-base). Those that melos has
/// no use for are kept in `other` and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // named as in transformers.BertConfig
pub struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: HiddenAct,
    #[serde(serialize_with = "shortest")]
    pub hidden_dropout_prob: f32,
    #[serde(serialize_with = "shortest")]
    pub attention_probs_dropout_prob: f32,
    /// Before a classifier's output layer; `None`: `hidden_dropout_prob`.
    #[serde(serialize_with = "shortest_option")]
    pub classifier_dropout: Option<f32>,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    #[serde(serialize_with = "shortest")]
    pub initializer_range: f32,
    #[serde(serialize_with = "shortest")]
    pub layer_norm_eps: f32,
    pub pad_token_id: Option<u32>,
    pub tie_word_embeddings: bool,
    #[serde(flatten)]
    pub labels: Labels,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for BertConfig {
    fn default() -> BertConfig {
        BertConfig {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            tie_word_embeddings: true,
            labels: Labels::default(),
            other: Map::new(),
        }
    }
}

impl BertConfig {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<BertConfig> {
        BertConfig::of_kind("bert", json)
    }

    /// The same of a kind of model that has these fields too.
    pub(in crate::models) fn of_kind(kind: &'static str, json: &Value) -> Result<BertConfig> {
        let config: BertConfig = parsed(kind, json)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a model can be built.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn validate(&self) -> Result<()> {
        sizes(&[
            ("vocab_size", self.vocab_size, most::TOKENS),
            ("hidden_size", self.hidden_size, most::WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, most::LAYERS),
            ("num_attention_heads", self.num_attention_heads, most::WIDTH),
            (
                "intermediate_size",
                self.intermediate_size,
                most::FEED_FORWARD,
            ),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                most::POSITIONS,
            ),
            ("type_vocab_size", self.type_vocab_size, most::TYPES),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        heads_divide(
            "num_attention_heads",
            self.num_attention_heads,
            self.hidden_size,
        )?;
        unsupported(
            &self.other,
            &[
                ("position_embedding_type", &[json!("absolute")]),
                ("is_decoder", &[json!(false)]),
                ("add_cross_attention", &[json!(false)]),
                ("pruned_heads", &[json!({})]),
            ],
        )
    }
}
