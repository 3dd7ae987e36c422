//! BERT or GPT-2 with its sizes: from a run file, or from a folder's config.json.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::hub::{Architecture, Layout};
use crate::models::bert::{self, BertConfig};
use crate::models::gpt2::{self, Gpt2Config};
use crate::models::{Labels, ProblemType};
use crate::nn::{HiddenAct, LoraPlan};
use crate::objectives::{Classify, Clm, Mlm, MlmNsp, Words};
use crate::tensor::ParamSpec;
use crate::text::Vocabulary;
use crate::train::config::{Activation, PretrainedModel, Problem, TransformerModel};

/// A transformer's configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// BERT.
    Bert(BertConfig),
    /// GPT-2.
    Gpt2(Gpt2Config),
}

impl Network {
    /// A BERT of these sizes for a vocabulary.
    pub fn bert(m: &TransformerModel, vocabulary: &Vocabulary) -> Network {
        let default = BertConfig::default();
        Network::Bert(BertConfig {
            vocab_size: vocabulary.size(),
            hidden_size: m.hidden,
            num_hidden_layers: m.layers,
            num_attention_heads: m.heads,
            intermediate_size: m.feed_forward(),
            hidden_act: act(m.activation).unwrap_or(default.hidden_act),
            hidden_dropout_prob: m.dropout,
            attention_probs_dropout_prob: m.attention_dropout,
            classifier_dropout: m.classifier_dropout,
            max_position_embeddings: m.max_positions,
            layer_norm_eps: m.norm_eps.unwrap_or(default.layer_norm_eps),
            pad_token_id: vocabulary.roles().pad,
            ..default
        })
    }

    /// A GPT-2 of these sizes for a vocabulary.
    pub fn gpt2(m: &TransformerModel, vocabulary: &Vocabulary) -> Network {
        let default = Gpt2Config::default();
        let roles = vocabulary.roles();
        Network::Gpt2(Gpt2Config {
            vocab_size: vocabulary.size(),
            n_positions: m.max_positions,
            n_embd: m.hidden,
            n_layer: m.layers,
            n_head: m.heads,
            n_inner: m.feed_forward,
            activation_function: act(m.activation).unwrap_or(default.activation_function),
            resid_pdrop: m.dropout,
            embd_pdrop: m.dropout,
            attn_pdrop: m.attention_dropout,
            layer_norm_epsilon: m.norm_eps.unwrap_or(default.layer_norm_epsilon),
            bos_token_id: roles.bos.or(roles.eos),
            eos_token_id: roles.eos,
            pad_token_id: roles.pad,
            ..default
        })
    }

    /// The network of a folder's config.json.
    ///
    /// # Errors
    /// [`Error::Folder`] for another kind of model, [`Error::ModelConfig`].
    pub fn read(config: &Value, folder: &Path) -> Result<Network> {
        match config["model_type"].as_str() {
            Some("bert") => BertConfig::from_json(config).map(Network::Bert),
            Some("gpt2") => Gpt2Config::from_json(config).map(Network::Gpt2),
            other => Err(Error::Folder {
                path: folder.join("config.json"),
                problem: format!(
                    "model_type is {}, expected 'bert' or 'gpt2'",
                    other.map_or("not given".into(), |t| format!("'{t}'"))
                ),
            }),
        }
    }

    /// Takes over the dropouts that a run file changes.
    pub fn set_dropouts(&mut self, changes: &PretrainedModel) {
        let set = |to: &mut f32, value: Option<f32>| *to = value.unwrap_or(*to);
        match self {
            Network::Bert(c) => {
                set(&mut c.hidden_dropout_prob, changes.dropout);
                set(
                    &mut c.attention_probs_dropout_prob,
                    changes.attention_dropout,
                );
                c.classifier_dropout = changes.classifier_dropout.or(c.classifier_dropout);
            }
            Network::Gpt2(c) => {
                set(&mut c.resid_pdrop, changes.dropout);
                set(&mut c.embd_pdrop, changes.dropout);
                set(&mut c.attn_pdrop, changes.attention_dropout);
            }
        }
    }

    /// Names the labels of a classifier.
    pub fn set_labels(&mut self, names: &[String], problem: Problem) {
        let problem = match problem {
            Problem::SingleLabel => ProblemType::SingleLabelClassification,
            Problem::MultiLabel => ProblemType::MultiLabelClassification,
            Problem::Regression => ProblemType::Regression,
        };
        let labels = Labels::named(names, Some(problem));
        match self {
            Network::Bert(c) => {
                c.labels = labels;
            }
            Network::Gpt2(c) => {
                c.labels = labels;
            }
        }
    }

    /// The labels of a classifier.
    pub fn labels(&self) -> &Labels {
        match self {
            Network::Bert(c) => &c.labels,
            Network::Gpt2(c) => &c.labels,
        }
    }

    /// The class in transformers that learns an objective.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] where this network cannot learn it.
    pub fn architecture(&self, objective: &str, stage: &str) -> Result<Architecture> {
        Ok(match (self, objective) {
            (Network::Bert(_), Mlm::NAME) => Architecture::BertForMaskedLM,
            (Network::Bert(_), MlmNsp::NAME) => Architecture::BertForPreTraining,
            (Network::Bert(_), Classify::NAME) => Architecture::BertForSequenceClassification,
            (Network::Bert(_), Words::NAME) => Architecture::BertForTokenClassification,
            (Network::Gpt2(_), Clm::NAME) => Architecture::GPT2LMHeadModel,
            (Network::Gpt2(_), Classify::NAME) => Architecture::GPT2ForSequenceClassification,
            (network, objective) => {
                return Err(Error::ConfigValue {
                    place: format!("stage.{stage}.objective"),
                    message: format!(
                        "a {} cannot learn \"{}\"; it has: {}",
                        network.kind(),
                        objective,
                        match network {
                            Network::Bert(_) => "mlm, mlm_nsp, classify, token_classify",
                            Network::Gpt2(_) => "clm, classify",
                        }
                    ),
                });
            }
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Network::Bert(_) => "BERT",
            Network::Gpt2(_) => "GPT-2",
        }
    }

    /// Rows of the word embedding.
    pub fn vocab_size(&self) -> usize {
        match self {
            Network::Bert(c) => c.vocab_size,
            Network::Gpt2(c) => c.vocab_size,
        }
    }

    /// Longest sequence.
    pub fn positions(&self) -> usize {
        match self {
            Network::Bert(c) => c.max_position_embeddings,
            Network::Gpt2(c) => c.n_positions,
        }
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        match self {
            Network::Bert(c) => c.num_hidden_layers,
            Network::Gpt2(c) => c.n_layer,
        }
    }

    /// Width of a token's vector, and of the feed-forward part.
    pub fn widths(&self) -> [usize; 2] {
        match self {
            Network::Bert(c) => [c.hidden_size, c.intermediate_size],
            Network::Gpt2(c) => [c.n_embd, c.n_inner.unwrap_or(4 * c.n_embd)],
        }
    }

    /// As config.json.
    pub fn to_json(&self) -> Value {
        let (mut json, kind) = match self {
            // Strings and numbers: this cannot fail.
            Network::Bert(c) => (serde_json::to_value(c).unwrap_or_default(), "bert"),
            Network::Gpt2(c) => (serde_json::to_value(c).unwrap_or_default(), "gpt2"),
        };
        json["model_type"] = json!(kind);
        json
    }

    /// The parameters of one of its classes.
    ///
    /// # Errors
    /// As [`BertConfig::specs`].
    pub fn specs(&self, architecture: Architecture, plan: &LoraPlan) -> Result<Vec<ParamSpec>> {
        match self {
            Network::Bert(c) => c.specs(bert_head(architecture), plan),
            Network::Gpt2(c) => c.specs(gpt2_head(architecture), plan),
        }
    }

    /// The tensors of one of its classes, as files have them.
    ///
    /// # Errors
    /// As [`Layout::of`].
    pub fn layout(&self, architecture: Architecture) -> Result<Layout> {
        Layout::of(&self.to_json(), architecture, Path::new("config.json"))
    }
}

fn act(activation: Option<Activation>) -> Option<HiddenAct> {
    activation.map(|a| match a {
        Activation::Gelu => HiddenAct::Gelu,
        Activation::GeluNew => HiddenAct::GeluNew,
    })
}

fn bert_head(architecture: Architecture) -> bert::Head {
    match architecture {
        Architecture::BertForMaskedLM => bert::Head::MaskedLm,
        Architecture::BertForPreTraining => bert::Head::PreTraining,
        Architecture::BertForSequenceClassification => bert::Head::SequenceClassification,
        Architecture::BertForTokenClassification => bert::Head::TokenClassification,
        _ => bert::Head::None,
    }
}

fn gpt2_head(architecture: Architecture) -> gpt2::Head {
    match architecture {
        Architecture::GPT2LMHeadModel => gpt2::Head::Lm,
        Architecture::GPT2ForSequenceClassification => gpt2::Head::SequenceClassification,
        _ => gpt2::Head::None,
    }
}
