//! How a family's models lie in files: its classes in transformers, the names of its tensors, and the
//! spellings that older files have.
//!
//! The canonical name of a tensor is what today's transformers writes for a model with a head:
//! `MODEL.encoder.layer.0.attention.self.query.weight`. Files may lack the model's prefix (those of a
//! bare model) or spell some names otherwise (those made from TensorFlow's).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::gguf::Gguf;
use crate::error::{Error, Result};
use crate::nn::{Module, Vars};

/// What stands on a model's layers. Each but the first is a class of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Nothing, not even what the bare class has.
    Layers,
    /// What the bare class has: a pooler, or nothing.
    Base,
    /// Guesses masked tokens.
    MaskedLm,
    /// Guesses masked tokens and whether one text follows another.
    NextSentence,
    /// Predicts each next token.
    CausalLm,
    /// Classifies sequences.
    Sequence,
    /// Classifies every token.
    Token,
    /// Classifies pictures.
    Picture,
    /// Predicts each next token of text that comes window by window.
    RecurrentLm,
    /// Writes a sequence that it has read.
    Autoencoder,
    /// Classifies sequences and, at the same time, predicts their tokens.
    Joint,
}

impl Head {
    /// Whether it has an output for each label.
    pub fn has_labels(self) -> bool {
        matches!(
            self,
            Head::Sequence | Head::Token | Head::Picture | Head::Joint
        )
    }

    /// Whether its output layer is the word embedding, unless the configuration says otherwise.
    pub fn is_tied(self) -> bool {
        matches!(self, Head::MaskedLm | Head::NextSentence | Head::CausalLm)
    }

    /// What is left of it in a saved model: a second objective is for training only.
    pub fn saved(self) -> Head {
        match self {
            Head::Joint => Head::Sequence,
            head => head,
        }
    }

    /// PEFT's name for what it is for.
    pub fn task_type(self) -> Option<&'static str> {
        match self {
            Head::Base => Some("FEATURE_EXTRACTION"),
            Head::CausalLm => Some("CAUSAL_LM"),
            Head::Sequence => Some("SEQ_CLS"),
            Head::Token => Some("TOKEN_CLS"),
            _ => None,
        }
    }
}

/// A class of transformers.
#[derive(Debug)]
pub struct Class {
    /// Its head.
    pub head: Head,
    /// Its name, as `architectures` of `config.json` has it.
    pub name: &'static str,
    /// Tensors that tell it from the classes that are listed after it, for files whose configuration
    /// does not say.
    pub evidence: &'static [&'static str],
}

/// Names and shapes of a file's tensors, and what a family makes of them.
pub type Shaped = fn(&BTreeMap<&str, &[usize]>) -> Option<Value>;

/// How a family's models lie in files.
pub struct Format {
    /// `model_type` of `config.json`.
    pub model_type: &'static str,
    /// The module of transformers that has its classes; empty where transformers has none.
    pub module: &'static str,
    /// Its classes, those that more tensors tell first.
    pub classes: &'static [Class],
    /// What stands before the names of the model without its head, with its dot.
    pub prefix: &'static str,
    /// What the names begin with where the prefix is left out.
    pub roots: &'static [&'static str],
    /// Ends of names that older files spell otherwise: (theirs, today's).
    pub legacy: &'static [(&'static str, &'static str)],
    /// Ends of the names of buffers that older versions saved and that follow from the
    /// configuration.
    pub buffers: &'static [&'static str],
    /// Tensors that are one with another: (the copy that some files hold, the original).
    pub tied: &'static [(&'static str, &'static str)],
    /// Tensors with a row for each token.
    pub vocabulary: &'static [&'static str],
    /// Tensors with a row for each position.
    pub positions: &'static [&'static str],
    /// The layers with an output for each label, of which each class has one at most.
    pub label_layers: &'static [&'static str],
    /// Beginnings of the names of tensors that a source may lack, besides the head.
    pub optional: &'static [&'static str],
    /// What PEFT adapts where nothing is said: ends of modules' names.
    pub targets: &'static [&'static str],
    /// How its models lie in GGUF files, where they do.
    pub gguf: Option<&'static Gguf>,
    /// The head that a configuration without `architectures` tells of.
    pub told: fn(&Value) -> Option<Head>,
    /// The `config.json` that the names and shapes of a file without one tell of.
    pub shaped: Option<Shaped>,
    /// What transformers 5.23 writes for a default configuration.
    pub defaults: fn() -> Value,
    /// Declares a model of this configuration.
    pub declare: fn(&Value, Head) -> Result<Vars>,
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type)
    }
}

/// Models that no family claims: their tensors' names are taken as they are.
pub static OTHER: Format = Format {
    model_type: "",
    module: "",
    classes: &[],
    prefix: "",
    roots: &[],
    legacy: &[],
    buffers: &[],
    tied: &[],
    vocabulary: &[],
    positions: &[],
    label_layers: &[],
    optional: &[],
    targets: &[],
    gguf: None,
    told: |_| None,
    shaped: None,
    defaults: || json!({}),
    declare: |_, _| Ok(Vars::new()),
};

impl Format {
    /// Whether transformers has no such models, so that files are as melos alone has them.
    pub(super) fn is_own(&self) -> bool {
        self.module.is_empty()
    }

    /// The class with this head.
    pub fn class(&'static self, head: Head) -> Option<Architecture> {
        self.architectures().find(|a| a.head() == head)
    }

    fn architectures(&'static self) -> impl Iterator<Item = Architecture> {
        let each = move |class| Architecture {
            format: self,
            class,
        };
        self.classes.iter().map(each)
    }

    /// The class that the tensors of a file look like.
    pub fn guess(&'static self, has: impl Fn(&str) -> bool) -> Option<Architecture> {
        self.architectures()
            .find(|a| a.class.evidence.iter().all(|name| has(name)))
    }

    /// Whether a name lacks the model's prefix.
    pub fn is_bare(&self, name: &str) -> bool {
        self.roots.iter().any(|root| name.starts_with(root))
    }

    /// The canonical name of a tensor (or module).
    pub fn canonical(&self, stored: &str) -> String {
        let mut name = Cow::Borrowed(stored);
        for (old, new) in self.legacy {
            if let Some(stem) = stored.strip_suffix(old) {
                name = format!("{stem}{new}").into();
            }
        }
        if self.is_bare(&name) {
            format!("{}{name}", self.prefix)
        } else {
            name.into_owned()
        }
    }

    /// A canonical name as some files spell it: `bare`, without the model's prefix; `legacy`, as the
    /// first releases had it.
    pub fn spelled(&self, canonical: &str, bare: bool, legacy: bool) -> String {
        let mut name = canonical.to_string();
        if legacy {
            let old = self.legacy.iter().find_map(|(old, new)| {
                let stem = name.strip_suffix(new)?;
                Some(format!("{stem}{old}"))
            });
            name = old.unwrap_or(name);
        }
        match name.strip_prefix(self.prefix) {
            Some(rest) if bare => rest.to_string(),
            _ => name,
        }
    }

    /// Whether a canonical name is that of a buffer, which no model needs from a file.
    pub fn is_buffer(&self, canonical: &str) -> bool {
        self.buffers.iter().any(|end| canonical.ends_with(end))
    }

    /// Whether a tensor belongs to what an objective adds to the model.
    pub fn is_head(&self, canonical: &str) -> bool {
        if self.prefix.is_empty() {
            return !self.is_bare(canonical);
        }
        !canonical.starts_with(self.prefix)
    }

    /// How a tensor's shape differs from what its model expects, and what to do.
    pub(super) fn wrong_shape(&self, name: &str, expected: &[usize], found: &[usize]) -> String {
        let first = |shape: &[usize]| shape.first().copied().unwrap_or(1);
        let (is, should) = (first(found), first(expected));
        if found.get(1..) == expected.get(1..) {
            if self.vocabulary.contains(&name) {
                return format!(
                    "has a vocabulary of {is}, expected {should}; use the tokeniser and the config.json \
                     that belong to these weights"
                );
            }
            if self.positions.contains(&name) {
                return format!(
                    "has {is} positions, expected {should}; sequences cannot be longer than the weights' positions"
                );
            }
            let labels = |layer| matches!(name.strip_prefix(layer), Some(".weight" | ".bias"));
            if self.label_layers.iter().copied().any(labels) {
                return format!(
                    "is a head for {is} labels, expected {should}; correct id2label (num_labels), or take \
                     the model without its head"
                );
            }
        }
        format!("expected shape {expected:?}, found {found:?}; the weights belong to another model")
    }
}

/// The family that `config.json` names, or where that does not say the tensors' names.
pub(super) fn detect<'a>(
    config: &Value,
    names: impl Iterator<Item = &'a str>,
    formats: &[&'static Format],
) -> &'static Format {
    let mut formats = formats.iter().copied();
    let found = match config["model_type"].as_str() {
        Some(kind) => formats.find(|format| format.model_type == kind),
        None => {
            let names: BTreeSet<&str> = names.collect();
            let words = |format: &&Format| {
                let mut words = format.vocabulary.iter();
                words.any(|name| {
                    names.contains(name) || names.contains(&*format.spelled(name, true, false))
                })
            };
            formats.find(words)
        }
    };
    found.unwrap_or(&OTHER)
}

/// The families' names, for messages.
pub(super) fn known(formats: &[&Format]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.model_type).collect();
    names.join(", ")
}

/// One class of one family.
#[derive(Clone, Copy)]
pub struct Architecture {
    /// Its family's format.
    pub format: &'static Format,
    class: &'static Class,
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Architecture) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Architecture {}

impl Architecture {
    /// The class of that name, of one of these families.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn named(name: &str, formats: &[&'static Format]) -> Result<Architecture> {
        let all = || formats.iter().flat_map(|format| format.architectures());
        all()
            .find(|a| a.name() == name)
            .ok_or_else(|| Error::UnknownName {
                what: "architecture",
                name: name.to_string(),
                suggestion: all()
                    .map(Architecture::name)
                    .find(|known| known.eq_ignore_ascii_case(name))
                    .map(String::from),
                known: all().map(Architecture::name).collect::<Vec<_>>().join(", "),
            })
    }

    /// Its name in transformers, as `architectures` of `config.json` has it.
    pub fn name(self) -> &'static str {
        self.class.name
    }

    /// Its head.
    pub fn head(self) -> Head {
        self.class.head
    }

    /// Whether it is the model without any head: its files have no prefix.
    pub fn is_bare(self) -> bool {
        self.head() == Head::Base
    }

    /// The tensors that it has with the sizes of `config`, which came from `place`.
    ///
    /// # Errors
    /// [`Error::Folder`] for a configuration that no such model can be built from.
    pub fn layout(self, config: &Value, place: &Path) -> Result<Layout> {
        let vars = (self.format.declare)(config, self.head()).map_err(|e| Error::Folder {
            path: place.to_path_buf(),
            problem: format!(
                "is not the configuration of a {}: {e}; take the config.json that belongs to the weights",
                self.name()
            ),
        })?;
        Ok(Layout::new(self, &vars))
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
    /// Its modules, as PEFT sees them.
    pub modules: Vec<Module>,
}

impl Layout {
    /// What was declared, as files have it.
    pub fn new(architecture: Architecture, vars: &Vars) -> Layout {
        Layout {
            architecture,
            tensors: vars.file_order(),
            modules: vars.modules(),
        }
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let found = self.tensors.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    /// Tensors that are one with another in this model: (the copy that some files hold, the
    /// original).
    pub fn tied(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let all = self.architecture.format.tied.iter().copied();
        all.filter(|(copy, _)| self.architecture.head().is_tied() && self.shape(copy).is_none())
    }
}
