//! The LSTM of a run file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ModelKind;
use crate::error::Result;
use crate::models::lstm::{LSTM_FAMILY, Lstm, LstmConfig};
use crate::models::{Config, Family, most};
use crate::objectives::Classify;
use crate::schema;
use crate::train::config::StageConfig;
use crate::train::config::model::require_probability;
use crate::train::config::validate::require;

/// Its kind in the run file.
pub(super) const NAME: &str = "lstm";

/// What it is good for.
pub(super) fn kind() -> ModelKind {
    let format = LSTM_FAMILY.format();
    ModelKind {
        name: NAME,
        keys: &["transfer", "dropout"],
        pairs: false,
        // Conversations are rows, which it does not read.
        learns: Box::new(|o| {
            let class = o.head().and_then(|head| format.class(head));
            class.is_some() && o.conversation().is_none()
        }),
        sizes: || schema::keys(LstmModel::deserialize),
    }
}

/// The LSTM, as Dai & Le (2015) vary it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LstmModel {
    /// Width of the word embeddings.
    pub embedding: usize,
    /// LSTM units per layer and direction.
    pub hidden: usize,
    /// LSTM layers.
    pub layers: usize,
    /// A second LSTM reads each text backwards (classifiers only).
    pub bidirectional: bool,
    /// Width of the ReLU layer between the LSTM and the classifier's logits; 0 leaves it out.
    pub head: usize,
    /// Cell states are clipped to ±this; absent: not clipped.
    pub cell_clip: Option<f32>,
    /// Predict the label after every token, with a weight rising linearly from 0 to 1 (Dai & Le,
    /// section 2: "LSTM with linear gain"), instead of after the last one only.
    pub linear_gain: bool,
    /// Embeddings to start from: word2vec text or binary, or GloVe.
    pub word_vectors: Option<PathBuf>,
    /// Where units are dropped during training.
    pub dropout: Dropout,
}

impl Default for LstmModel {
    fn default() -> Self {
        Self {
            embedding: 128,
            hidden: 256,
            layers: 1,
            bidirectional: false,
            head: 0,
            cell_clip: None,
            linear_gain: false,
            word_vectors: None,
            dropout: Dropout::default(),
        }
    }
}

/// Probabilities of dropping in an LSTM, 0 ≤ p < 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dropout {
    /// Whole words of the input, at random positions.
    pub word: f32,
    /// Units of the embedded words.
    pub embedding: f32,
    /// Units of the input to the classifier or the softmax.
    pub output: f32,
}

impl LstmModel {
    /// The network of a stage, for a vocabulary.
    pub(in crate::train) fn sized(
        &self,
        stage: &StageConfig,
        vocab_size: usize,
    ) -> Box<dyn Config> {
        let dropout = stage.dropout(self);
        let sizes = LstmConfig {
            vocab_size,
            embedding_size: self.embedding,
            hidden_size: self.hidden,
            num_layers: self.layers,
            bidirectional: self.bidirectional,
            head_size: self.head,
            cell_clip: self.cell_clip.unwrap_or(0.0),
            embedding_dropout: dropout.embedding,
            layer_dropout: dropout.output,
            output_dropout: dropout.output,
        };
        let mut lstm = Lstm::new(sizes);
        lstm.linear_gain = self.linear_gain;
        lstm.word_dropout = dropout.word;
        Box::new(lstm)
    }

    /// Checks the sizes, and that the stages can use it as it is.
    pub(super) fn check(&self, stages: &[StageConfig]) -> Result<()> {
        let at = |key: &str| format!("model.{key}");
        let (embedding, hidden) = (("embedding", self.embedding), ("hidden", self.hidden));
        for (key, value) in [embedding, hidden, ("layers", self.layers)] {
            require(value >= 1, || at(key), "should be at least 1")?;
        }
        // More would overflow a shape's 32-bit index long before it trained.
        for (key, value) in [embedding, hidden, ("head", self.head)] {
            let message = format!("should be at most {}", most::WIDTH);
            require(value <= most::WIDTH, || at(key), &message)?;
        }
        require(self.layers <= 64, || at("layers"), "should be at most 64")?;
        require(
            self.cell_clip.is_none_or(|c| c > 0.0 && c.is_finite()),
            || at("cell_clip"),
            "should be a positive number; leave it out for no clipping",
        )?;
        self.dropout.check("model.dropout")?;
        let predicts_text = stages.iter().any(|s| !s.objective.is::<Classify>());
        require(
            !(self.bidirectional && predicts_text),
            || at("bidirectional"),
            "a model that reads backwards sees the token it should predict; only objective \"classify\" can use it",
        )
    }
}

impl Dropout {
    /// Checks that these are probabilities.
    pub(in crate::train::config) fn check(self, place: &str) -> Result<()> {
        for (key, p) in [
            ("word", self.word),
            ("embedding", self.embedding),
            ("output", self.output),
        ] {
            require_probability(p.into(), || format!("{place}.{key}"))?;
        }
        Ok(())
    }
}
