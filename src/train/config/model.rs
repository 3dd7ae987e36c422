//! The networks of a run file: `[model]` with its `kind`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The network, one table for each kind. Without a `kind` it is the LSTM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", from = "ByKind")]
pub enum ModelConfig {
    /// The LSTM, as Dai & Le (2015) vary it.
    Lstm(LstmModel),
    /// BERT (Devlin et al. 2019), from random weights.
    Bert(TransformerModel),
    /// GPT-2 (Radford et al. 2019), from random weights.
    Gpt2(TransformerModel),
    /// The BERT or GPT-2 in the folder that each stage's `init` names.
    Pretrained(PretrainedModel),
}

/// As it is read: the reader takes the kind out of the table, so that errors name keys below it.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ByKind {
    Lstm(LstmModel),
    Bert(TransformerModel),
    Gpt2(TransformerModel),
    Pretrained(PretrainedModel),
}

impl From<ByKind> for ModelConfig {
    fn from(model: ByKind) -> Self {
        match model {
            ByKind::Lstm(model) => Self::Lstm(model),
            ByKind::Bert(model) => Self::Bert(model),
            ByKind::Gpt2(model) => Self::Gpt2(model),
            ByKind::Pretrained(model) => Self::Pretrained(model),
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::Lstm(LstmModel::default())
    }
}

impl ModelConfig {
    /// The LSTM, where it is one.
    pub fn lstm(&self) -> Option<&LstmModel> {
        match self {
            Self::Lstm(model) => Some(model),
            _ => None,
        }
    }

    /// The kind, as the run file has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lstm(_) => "lstm",
            Self::Bert(_) => "bert",
            Self::Gpt2(_) => "gpt2",
            Self::Pretrained(_) => "pretrained",
        }
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

/// A transformer; the defaults are BERT-base's.
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
    /// Form of GELU; absent: the kind's own, "gelu" (erf) for BERT, "gelu_new" (tanh) for GPT-2.
    pub activation: Option<Activation>,
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
        self.feed_forward.unwrap_or(4 * self.hidden)
    }
}

/// Forms of GELU (Hendrycks & Gimpel 2016), by their names in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// With the error function.
    Gelu,
    /// With tanh.
    GeluNew,
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
