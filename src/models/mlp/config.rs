//! `config.json` of a multilayer perceptron, and what a run file says of one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::models::config::{
    ImageSize, Labels, PictureAct, most, parsed, probabilities, shortest, sizes, wrong,
};

/// `model_type` in `config.json`.
pub(super) const MODEL_TYPE: &str = "melos-mlp";

/// A multilayer perceptron that classifies pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MlpConfig {
    /// Size of the pictures.
    pub image_size: ImageSize,
    /// Numbers of a pixel.
    pub num_channels: usize,
    /// Width of each hidden layer, from the bottom up; none leaves a linear classifier.
    pub hidden_sizes: Vec<usize>,
    /// Their function.
    pub hidden_act: PictureAct,
    /// Probability of dropping their units.
    #[serde(serialize_with = "shortest")]
    pub hidden_dropout_prob: f32,
    /// What its outputs are called.
    #[serde(flatten)]
    pub labels: Labels,
    /// Fields that melos has no use for.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for MlpConfig {
    fn default() -> MlpConfig {
        MlpConfig {
            image_size: ImageSize::square(28),
            num_channels: 1,
            hidden_sizes: vec![512],
            hidden_act: PictureAct::Relu,
            hidden_dropout_prob: 0.0,
            labels: Labels::default(),
            other: Map::new(),
        }
    }
}

impl MlpConfig {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<MlpConfig> {
        let config: MlpConfig = parsed(MODEL_TYPE, json)?;
        config.validate()?;
        Ok(config)
    }

    /// Numbers of a picture: what the first layer reads.
    pub fn inputs(&self) -> usize {
        self.image_size.height * self.image_size.width * self.num_channels
    }

    /// Checks that such a model can be built.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn validate(&self) -> Result<()> {
        sizes(&[
            ("image_size", self.image_size.height, most::SIDE),
            ("image_size", self.image_size.width, most::SIDE),
            ("num_channels", self.num_channels, most::CHANNELS),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        if self.inputs() > most::FEED_FORWARD {
            let message = format!(
                "gives {} numbers a picture; expected {} at most",
                self.inputs(),
                most::FEED_FORWARD
            );
            return Err(wrong("image_size", message));
        }
        let layers = self.hidden_sizes.len();
        if layers > most::LAYERS {
            let message = format!("has {layers} layers; expected {} at most", most::LAYERS);
            return Err(wrong("hidden_sizes", message));
        }
        for &width in &self.hidden_sizes {
            sizes(&[("hidden_sizes", width, most::WIDTH)])?;
        }
        probabilities(&[("hidden_dropout_prob", self.hidden_dropout_prob)])
    }
}

/// `[model]` of a run file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpModel {
    /// Width of each hidden layer, from the bottom up.
    pub hidden: Vec<usize>,
    /// Their function: "relu", "sigmoid" or "tanh".
    pub activation: PictureAct,
    /// Probability of dropping their units.
    pub dropout: f32,
}

impl Default for MlpModel {
    fn default() -> MlpModel {
        let standard = MlpConfig::default();
        MlpModel {
            hidden: standard.hidden_sizes,
            activation: standard.hidden_act,
            dropout: standard.hidden_dropout_prob,
        }
    }
}

impl From<MlpModel> for MlpConfig {
    fn from(model: MlpModel) -> MlpConfig {
        MlpConfig {
            hidden_sizes: model.hidden,
            hidden_act: model.activation,
            hidden_dropout_prob: model.dropout,
            ..MlpConfig::default()
        }
    }
}
