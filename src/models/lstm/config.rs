//! What a `config.json` of an LSTM says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LstmConfig;
use crate::error::Result;
use crate::hub::Head;
use crate::models::config::{Labels, ProblemType, most, parsed, sizes, wrong};
use crate::models::family::Cut;
use crate::text::Keep;

/// `model_type` in `config.json`.
pub(super) const MODEL_TYPE: &str = "melos-lstm";

/// An LSTM as a family's configuration: its sizes, what it was trained for, and how it is to be
/// trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Lstm {
    /// Its sizes.
    pub sizes: LstmConfig,
    /// Whether a classifier learns from the state after every token, with a weight that rises along
    /// the text (Dai & Le 2015, section 2: "LSTM with linear gain").
    pub linear_gain: bool,
    /// Probability of dropping a word of the input in training.
    pub word_dropout: f32,
    /// What its outputs are called.
    pub(super) labels: Labels,
    /// What a saved one was trained for.
    pub(super) trained: Option<Trained>,
}

/// What a saved model was trained for, with what is needed to read text as in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "objective", rename_all = "snake_case")]
pub(super) enum Trained {
    LanguageModel {
        bptt: usize,
    },
    Autoencoder {
        max_len: usize,
        kept_end: Keep,
    },
    Classifier {
        labels: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem_type: Option<ProblemType>,
        max_len: usize,
        kept_end: Keep,
    },
}

/// The whole `config.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    model_type: String,
    #[serde(flatten)]
    trained: Trained,
    lstm: LstmConfig,
}

impl Lstm {
    /// One of these sizes, trained for nothing yet.
    pub fn new(sizes: LstmConfig) -> Lstm {
        Lstm {
            sizes,
            linear_gain: false,
            word_dropout: 0.0,
            labels: Labels::default(),
            trained: None,
        }
    }

    /// The configuration in a `config.json`.
    pub(super) fn from_json(json: &Value) -> Result<Lstm> {
        let Description { trained, lstm, .. } = parsed(MODEL_TYPE, json)?;
        sizes(&[
            ("vocab_size", lstm.vocab_size, most::TOKENS),
            ("embedding_size", lstm.embedding_size, most::WIDTH),
            ("hidden_size", lstm.hidden_size, most::WIDTH),
            ("num_layers", lstm.num_layers, most::LAYERS),
        ])?;
        if lstm.head_size > most::WIDTH {
            sizes(&[("head_size", lstm.head_size, most::WIDTH)])?;
        }
        match trained {
            Trained::LanguageModel { bptt } => sizes(&[("bptt", bptt, most::POSITIONS)])?,
            Trained::Autoencoder { max_len, .. } | Trained::Classifier { max_len, .. } => {
                sizes(&[("max_len", max_len, most::POSITIONS)])?;
            }
        }
        let mut config = Lstm::new(lstm);
        if let Trained::Classifier {
            labels,
            problem_type,
            ..
        } = &trained
        {
            if labels.is_empty() {
                return Err(wrong(
                    "labels",
                    "is empty; expected the names of the classes",
                ));
            }
            let problem = problem_type.unwrap_or(ProblemType::SingleLabelClassification);
            config.labels = Labels::named(labels, Some(problem));
        }
        config.trained = Some(trained);
        Ok(config)
    }

    /// As `config.json`; one that was trained for nothing says so by having no objective.
    pub(super) fn json(&self) -> Value {
        let Some(trained) = &self.trained else {
            return serde_json::json!({ "model_type": MODEL_TYPE, "lstm": self.sizes });
        };
        let description = Description {
            model_type: MODEL_TYPE.into(),
            trained: trained.clone(),
            lstm: self.sizes.clone(),
        };
        // Strings and numbers: this cannot fail.
        serde_json::to_value(description).unwrap_or_default()
    }

    /// What a model with this head was trained for, which read texts to this length and end.
    pub(super) fn trained_for(&self, head: Head, cut: Cut) -> Option<Trained> {
        let (length, kept_end) = (cut.length, cut.kept_end);
        Some(match head {
            Head::RecurrentLm => Trained::LanguageModel { bptt: length },
            Head::Autoencoder => Trained::Autoencoder {
                max_len: length,
                kept_end,
            },
            Head::Sequence | Head::Joint => Trained::Classifier {
                labels: self.labels.names(),
                problem_type: Some(self.labels.problem())
                    .filter(|p| *p != ProblemType::SingleLabelClassification),
                max_len: length,
                kept_end,
            },
            _ => return None,
        })
    }
}

/// The head that a `config.json` tells of.
pub(super) fn told(json: &Value) -> Option<Head> {
    match json["objective"].as_str()? {
        "language_model" => Some(Head::RecurrentLm),
        "autoencoder" => Some(Head::Autoencoder),
        "classifier" => Some(Head::Sequence),
        _ => None,
    }
}
