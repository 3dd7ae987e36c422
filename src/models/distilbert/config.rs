//! `config.json` of a DistilBERT model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::models::Labels;
use crate::models::config::{heads_divide, most, parsed, probabilities, shortest, sizes};
use crate::nn::HiddenAct;

/// The fields of Hugging Face's `config.json` with its defaults. Those that melos has no use for are
/// kept in `other` and written back; `sinusoidal_pos_embds` is one: files hold the positions' vectors
/// either way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // named as in transformers.DistilBertConfig
pub struct DistilBertConfig {
    pub vocab_size: usize,
    pub dim: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub hidden_dim: usize,
    pub activation: HiddenAct,
    #[serde(serialize_with = "shortest")]
    pub dropout: f32,
    #[serde(serialize_with = "shortest")]
    pub attention_dropout: f32,
    /// Before the output layer of a classifier of sequences.
    #[serde(serialize_with = "shortest")]
    pub seq_classif_dropout: f32,
    pub max_position_embeddings: usize,
    #[serde(serialize_with = "shortest")]
    pub initializer_range: f32,
    pub pad_token_id: Option<u32>,
    pub tie_word_embeddings: bool,
    #[serde(flatten)]
    pub labels: Labels,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for DistilBertConfig {
    fn default() -> DistilBertConfig {
        DistilBertConfig {
            vocab_size: 30_522,
            dim: 768,
            n_layers: 6,
            n_heads: 12,
            hidden_dim: 3072,
            activation: HiddenAct::Gelu,
            dropout: 0.1,
            attention_dropout: 0.1,
            seq_classif_dropout: 0.2,
            max_position_embeddings: 512,
            initializer_range: 0.02,
            pad_token_id: Some(0),
            tie_word_embeddings: true,
            labels: Labels::default(),
            other: Map::new(),
        }
    }
}

impl DistilBertConfig {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<DistilBertConfig> {
        let config: DistilBertConfig = parsed("distilbert", json)?;
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
            ("dim", self.dim, most::WIDTH),
            ("n_layers", self.n_layers, most::LAYERS),
            ("n_heads", self.n_heads, most::WIDTH),
            ("hidden_dim", self.hidden_dim, most::FEED_FORWARD),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                most::POSITIONS,
            ),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        probabilities(&[
            ("dropout", self.dropout),
            ("attention_dropout", self.attention_dropout),
            ("seq_classif_dropout", self.seq_classif_dropout),
        ])?;
        heads_divide("n_heads", self.n_heads, self.dim)
    }
}
