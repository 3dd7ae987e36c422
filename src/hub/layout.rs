//! Which tensors an architecture has, and of which shapes: told from `config.json` alone.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::Family;
use crate::error::{Error, Result};

/// The model classes of transformers that melos reads and writes, by their names there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Architecture {
    BertModel,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Model,
    GPT2LMHeadModel,
    GPT2ForSequenceClassification,
}

use Architecture::*;

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 8] = [
        BertModel,
        BertForMaskedLM,
        BertForPreTraining,
        BertForSequenceClassification,
        BertForTokenClassification,
        GPT2Model,
        GPT2LMHeadModel,
        GPT2ForSequenceClassification,
    ];

    /// Its name in transformers, as `architectures` of `config.json` has it.
    pub fn name(self) -> &'static str {
        match self {
            BertModel => "BertModel",
            BertForMaskedLM => "BertForMaskedLM",
            BertForPreTraining => "BertForPreTraining",
            BertForSequenceClassification => "BertForSequenceClassification",
            BertForTokenClassification => "BertForTokenClassification",
            GPT2Model => "GPT2Model",
            GPT2LMHeadModel => "GPT2LMHeadModel",
            GPT2ForSequenceClassification => "GPT2ForSequenceClassification",
        }
    }

    /// The architecture of that name.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn named(name: &str) -> Result<Architecture> {
        (Self::ALL.into_iter().find(|a| a.name() == name)).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            Error::UnknownName {
                what: "architecture",
                name: name.to_string(),
                suggestion: known
                    .iter()
                    .find(|k| k.eq_ignore_ascii_case(name))
                    .map(|k| k.to_string()),
                known: known.join(", "),
            }
        })
    }

    /// Whose names it has.
    pub fn family(self) -> Family {
        match self {
            BertModel
            | BertForMaskedLM
            | BertForPreTraining
            | BertForSequenceClassification
            | BertForTokenClassification => Family::Bert,
            GPT2Model | GPT2LMHeadModel | GPT2ForSequenceClassification => Family::Gpt2,
        }
    }

    /// Whether it is the model without any head: its files have no prefix.
    pub fn is_bare(self) -> bool {
        matches!(self, BertModel | GPT2Model)
    }

    /// Whether its output layer is its word embedding.
    pub fn is_tied(self) -> bool {
        matches!(self, BertForMaskedLM | BertForPreTraining | GPT2LMHeadModel)
    }

    /// Whether its head has one row per label.
    pub fn has_labels(self) -> bool {
        matches!(
            self,
            BertForSequenceClassification
                | BertForTokenClassification
                | GPT2ForSequenceClassification
        )
    }

    /// What the tensors themselves look like, for files whose configuration does not say.
    pub fn guess(family: Family, has: impl Fn(&str) -> bool) -> Option<Architecture> {
        match family {
            Family::Bert if has("cls.seq_relationship.weight") => Some(BertForPreTraining),
            Family::Bert if has("cls.predictions.transform.dense.weight") => Some(BertForMaskedLM),
            Family::Bert if has("classifier.weight") => {
                Some(match has("bert.pooler.dense.weight") {
                    true => BertForSequenceClassification,
                    false => BertForTokenClassification,
                })
            }
            Family::Bert => Some(BertModel),
            Family::Gpt2 if has("score.weight") => Some(GPT2ForSequenceClassification),
            Family::Gpt2 => Some(GPT2LMHeadModel),
            Family::Other => None,
        }
    }
}

/// The fields of a BERT configuration that decide shapes, with transformers' defaults.
#[derive(Deserialize)]
#[serde(default)]
struct BertSizes {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
}

impl Default for BertSizes {
    fn default() -> Self {
        BertSizes {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
        }
    }
}

/// The same of GPT-2.
#[derive(Deserialize)]
#[serde(default)]
struct Gpt2Sizes {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_inner: Option<usize>,
}

impl Default for Gpt2Sizes {
    fn default() -> Self {
        Gpt2Sizes {
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_inner: None,
        }
    }
}

/// How many labels a configuration has: those of `id2label`, else `num_labels`, else 2.
pub fn num_labels(config: &Value) -> usize {
    let listed = config["id2label"].as_object().map(|labels| labels.len());
    let counted = config["num_labels"].as_u64().map(|n| n as usize);
    listed.or(counted).unwrap_or(2)
}

/// The tensors of a model, tied ones once, in transformers' order.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The model's class.
    pub architecture: Architecture,
    /// Canonical names and shapes.
    pub tensors: Vec<(String, Vec<usize>)>,
}

/// A module of a model that has parameters, its own or its children's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Canonical name: `bert.encoder.layer.0.attention.self.query`.
    pub name: String,
    /// Its sizes where it is a linear layer.
    pub linear: Option<Linear>,
}

/// Modules without parameters of their own, by the end of their parents' names: dropout, activations,
/// and output layers that are the word embedding.
const WITHOUT_PARAMETERS: &[(&str, &[&str])] = &[
    ("bert.embeddings", &["dropout"]),
    ("attention.self", &["dropout"]),
    (".output", &["dropout"]),
    ("intermediate", &["intermediate_act_fn"]),
    ("bert.pooler", &["activation"]),
    ("cls.predictions", &["decoder"]),
    ("cls.predictions.transform", &["transform_act_fn"]),
    ("transformer", &["drop"]),
    (".attn", &["attn_dropout", "resid_dropout"]),
    (".mlp", &["act", "dropout"]),
];

/// The sizes of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Numbers in.
    pub inputs: usize,
    /// Numbers out.
    pub outputs: usize,
    /// Whether its weight lies as (in, out), as GPT-2's Conv1D, instead of (out, in).
    pub fan_in_fan_out: bool,
}

impl Layout {
    /// The tensors of `architecture` with the sizes of `config`, which came from `place`.
    ///
    /// # Errors
    /// [`Error::Folder`] where a size is no number.
    pub fn of(config: &Value, architecture: Architecture, place: &Path) -> Result<Layout> {
        let bad = |e: serde_json::Error| Error::Folder {
            path: place.to_path_buf(),
            problem: format!(
                "is not the configuration of a {}: {e}; take the config.json that belongs to the weights",
                architecture.name()
            ),
        };
        let labels = num_labels(config);
        let mut list = List::default();
        match architecture.family() {
            Family::Gpt2 => {
                let sizes = Gpt2Sizes::deserialize(config).map_err(bad)?;
                gpt2(&mut list, &sizes);
                if architecture == GPT2ForSequenceClassification {
                    list.add("score.weight", [labels, sizes.n_embd]);
                }
            }
            Family::Bert | Family::Other => {
                let sizes = BertSizes::deserialize(config).map_err(bad)?;
                bert(&mut list, &sizes);
                bert_head(&mut list, &sizes, architecture, labels);
            }
        }
        Ok(Layout {
            architecture,
            tensors: list.0,
        })
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let found = self.tensors.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    /// Every module as PEFT sees them: containers, and those without parameters of their own, too.
    pub fn modules(&self) -> Vec<Module> {
        let mut seen = BTreeSet::new();
        let mut modules = Vec::new();
        let plain = |name: String| Module { name, linear: None };
        for (tensor, shape) in &self.tensors {
            for (at, _) in tensor.match_indices('.') {
                let name = &tensor[..at];
                if seen.insert(name) {
                    // Only a leaf's own weight comes right after its name.
                    let own = tensor[at..] == *".weight";
                    modules.push(Module {
                        name: name.to_string(),
                        linear: if own { self.linear(name, shape) } else { None },
                    });
                    let inside = (WITHOUT_PARAMETERS.iter())
                        .filter(|(parent, _)| name.ends_with(parent))
                        .flat_map(|(_, children)| *children);
                    modules.extend(inside.map(|child| plain(format!("{name}.{child}"))));
                }
            }
        }
        let top = match self.architecture {
            BertForSequenceClassification | BertForTokenClassification => Some("dropout"),
            GPT2LMHeadModel => Some("lm_head"),
            _ => None,
        };
        modules.extend(top.map(|name| plain(name.into())));
        modules
    }

    fn linear(&self, name: &str, shape: &[usize]) -> Option<Linear> {
        let embedding =
            name.ends_with("_embeddings") || name.ends_with("wte") || name.ends_with("wpe");
        let &[rows, columns] = shape else { return None };
        let fan_in_fan_out =
            self.architecture.family() == Family::Gpt2 && name.starts_with("transformer.h.");
        let (inputs, outputs) = match fan_in_fan_out {
            true => (rows, columns),
            false => (columns, rows),
        };
        (!embedding).then_some(Linear {
            inputs,
            outputs,
            fan_in_fan_out,
        })
    }
}

#[derive(Default)]
struct List(Vec<(String, Vec<usize>)>);

impl List {
    fn add(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>) {
        self.0.push((name.into(), shape.into()));
    }
    /// nn.Linear.
    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(format!("{name}.weight"), [outputs, inputs]);
        self.add(format!("{name}.bias"), [outputs]);
    }
    /// GPT-2's Conv1D.
    fn conv1d(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.add(format!("{name}.weight"), [inputs, outputs]);
        self.add(format!("{name}.bias"), [outputs]);
    }
    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), [width]);
        self.add(format!("{name}.bias"), [width]);
    }
}

fn bert(list: &mut List, s: &BertSizes) {
    let width = s.hidden_size;
    let table = |name: &str| format!("bert.embeddings.{name}_embeddings.weight");
    list.add(table("word"), [s.vocab_size, width]);
    list.add(table("position"), [s.max_position_embeddings, width]);
    list.add(table("token_type"), [s.type_vocab_size, width]);
    list.norm("bert.embeddings.LayerNorm", width);
    for n in 0..s.num_hidden_layers {
        let layer = format!("bert.encoder.layer.{n}");
        for part in ["query", "key", "value"] {
            list.linear(&format!("{layer}.attention.self.{part}"), width, width);
        }
        list.linear(&format!("{layer}.attention.output.dense"), width, width);
        list.norm(&format!("{layer}.attention.output.LayerNorm"), width);
        list.linear(
            &format!("{layer}.intermediate.dense"),
            s.intermediate_size,
            width,
        );
        list.linear(&format!("{layer}.output.dense"), width, s.intermediate_size);
        list.norm(&format!("{layer}.output.LayerNorm"), width);
    }
}

fn bert_head(list: &mut List, s: &BertSizes, architecture: Architecture, labels: usize) {
    let width = s.hidden_size;
    if !matches!(architecture, BertForMaskedLM | BertForTokenClassification) {
        list.linear("bert.pooler.dense", width, width);
    }
    if matches!(architecture, BertForMaskedLM | BertForPreTraining) {
        list.add("cls.predictions.bias", [s.vocab_size]);
        list.linear("cls.predictions.transform.dense", width, width);
        list.norm("cls.predictions.transform.LayerNorm", width);
    }
    if architecture == BertForPreTraining {
        list.linear("cls.seq_relationship", 2, width);
    }
    if architecture.has_labels() {
        list.linear("classifier", labels, width);
    }
}

fn gpt2(list: &mut List, s: &Gpt2Sizes) {
    let width = s.n_embd;
    let inner = s.n_inner.unwrap_or(4 * width);
    list.add("transformer.wte.weight", [s.vocab_size, width]);
    list.add("transformer.wpe.weight", [s.n_positions, width]);
    for n in 0..s.n_layer {
        let layer = format!("transformer.h.{n}");
        list.norm(&format!("{layer}.ln_1"), width);
        list.conv1d(&format!("{layer}.attn.c_attn"), width, 3 * width);
        list.conv1d(&format!("{layer}.attn.c_proj"), width, width);
        list.norm(&format!("{layer}.ln_2"), width);
        list.conv1d(&format!("{layer}.mlp.c_fc"), width, inner);
        list.conv1d(&format!("{layer}.mlp.c_proj"), inner, width);
    }
    list.norm("transformer.ln_f", width);
}
