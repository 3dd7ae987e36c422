//! `config.json` of a GPT-2 model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::models::Labels;
use crate::models::config::{
    heads_divide, most, parsed, probabilities, shortest, sizes, unsupported,
};
use crate::nn::HiddenAct;

/// The fields of Hugging Face's `config.json` with its defaults (GPT-2 small). Those that melos has
/// no use for are kept in `other` and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // named as in transformers.GPT2Config
pub struct Gpt2Config {
    pub vocab_size: usize,
    pub n_positions: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    /// Width of the feed-forward layers; `None`: 4·n_embd.
    pub n_inner: Option<usize>,
    pub activation_function: HiddenAct,
    #[serde(serialize_with = "shortest")]
    pub resid_pdrop: f32,
    #[serde(serialize_with = "shortest")]
    pub embd_pdrop: f32,
    #[serde(serialize_with = "shortest")]
    pub attn_pdrop: f32,
    #[serde(serialize_with = "shortest")]
    pub layer_norm_epsilon: f32,
    #[serde(serialize_with = "shortest")]
    pub initializer_range: f32,
    pub scale_attn_weights: bool,
    pub scale_attn_by_inverse_layer_idx: bool,
    pub bos_token_id: Option<u32>,
    pub eos_token_id: Option<u32>,
    pub pad_token_id: Option<u32>,
    pub tie_word_embeddings: bool,
    #[serde(flatten)]
    pub labels: Labels,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for Gpt2Config {
    fn default() -> Gpt2Config {
        Gpt2Config {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: HiddenAct::GeluNew,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            bos_token_id: Some(50_256),
            eos_token_id: Some(50_256),
            pad_token_id: None,
            tie_word_embeddings: true,
            labels: Labels::default(),
            other: Map::new(),
        }
    }
}

impl Gpt2Config {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<Gpt2Config> {
        let config: Gpt2Config = parsed("gpt2", json)?;
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
            ("n_positions", self.n_positions, most::POSITIONS),
            ("n_embd", self.n_embd, most::WIDTH),
            ("n_layer", self.n_layer, most::LAYERS),
            ("n_head", self.n_head, most::WIDTH),
            ("n_inner", self.inner(), most::FEED_FORWARD),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        probabilities(&[
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
        ])?;
        heads_divide("n_head", self.n_head, self.n_embd)?;
        unsupported(&self.other, &[("add_cross_attention", &[json!(false)])])
    }

    /// Width of the feed-forward layers.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(self.n_embd.saturating_mul(4))
    }

    /// What the scores of layer `index` are multiplied by.
    pub(super) fn attention_scale(&self, index: usize) -> f32 {
        let mut scale = 1.0;
        if self.scale_attn_weights {
            scale /= ((self.n_embd / self.n_head) as f32).sqrt();
        }
        if self.scale_attn_by_inverse_layer_idx {
            scale /= (index + 1) as f32;
        }
        scale
    }
}
