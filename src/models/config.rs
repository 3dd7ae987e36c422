//! What the configurations of families share.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
#[cfg(feature = "train")]
use crate::nn::Vars;
use crate::ops::Unary;

/// What a classifier's outputs mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// One class of several: softmax.
    SingleLabelClassification,
    /// Any number of classes: a sigmoid each.
    MultiLabelClassification,
    /// Numbers: squared error.
    Regression,
}

/// The outputs of a classifier: their number, names and meaning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Names by number, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id2label: Option<Map<String, Value>>,
    /// Numbers by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label2id: Option<Map<String, Value>>,
    /// Their number, where there are no names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_labels: Option<usize>,
    /// What they mean; derived from their number where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<ProblemType>,
    /// Whether they are of pairs of texts, of which transformers says nothing; melos does of what it
    /// trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pairs: Option<bool>,
}

impl Labels {
    /// Labels of these names.
    pub fn named<S: AsRef<str>>(names: &[S], problem: Option<ProblemType>) -> Labels {
        let each = || names.iter().map(AsRef::as_ref).enumerate();
        Labels {
            id2label: Some(
                each()
                    .map(|(i, name)| (i.to_string(), name.into()))
                    .collect(),
            ),
            label2id: Some(
                each()
                    .map(|(i, name)| (name.to_string(), i.into()))
                    .collect(),
            ),
            num_labels: None,
            problem_type: problem,
            text_pairs: None,
        }
    }

    /// Refuses single texts where the labels are known to be of pairs, and pairs where they are of single
    /// texts.
    ///
    /// # Errors
    /// [`Error::ConfigValue`].
    pub fn check_pairs(&self, pairs: bool) -> Result<()> {
        let message = match self.text_pairs {
            Some(true) if !pairs => {
                "the model was trained on pairs of texts, and these are single ones; name the column of \
                 the second text with --pair-column, or put a tab between the two"
            }
            Some(false) if pairs => {
                "the model was trained on single texts, and these are pairs; leave the second text out"
            }
            _ => return Ok(()),
        };
        Err(Error::value("pair_column", message))
    }

    /// Their number; two where nothing says otherwise, as in transformers.
    pub fn count(&self) -> usize {
        let named = self.id2label.as_ref().map(Map::len);
        named.or(self.num_labels).unwrap_or(2)
    }

    /// The name of label `index`.
    pub fn name(&self, index: usize) -> String {
        let names = self.id2label.as_ref();
        let name = names.and_then(|names| names.get(&index.to_string())?.as_str());
        name.map_or_else(|| format!("LABEL_{index}"), str::to_string)
    }

    /// Their names, in order.
    pub fn names(&self) -> Vec<String> {
        (0..self.count()).map(|index| self.name(index)).collect()
    }

    /// What they mean: a single output is a number, several are classes, as transformers has it for
    /// whole labels.
    pub fn problem(&self) -> ProblemType {
        self.problem_type.unwrap_or(match self.count() {
            1 => ProblemType::Regression,
            _ => ProblemType::SingleLabelClassification,
        })
    }
}

/// Height and width of pictures: a number where they are the same, else `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Side", into = "Side")]
pub struct ImageSize {
    /// Rows of pixels (H).
    pub height: usize,
    /// Pixels of a row (W).
    pub width: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Side {
    Square(usize),
    Both([usize; 2]),
}

impl ImageSize {
    /// As high as wide.
    pub fn square(side: usize) -> ImageSize {
        ImageSize {
            height: side,
            width: side,
        }
    }
}

impl From<Side> for ImageSize {
    fn from(side: Side) -> ImageSize {
        match side {
            Side::Square(side) => ImageSize::square(side),
            Side::Both([height, width]) => ImageSize { height, width },
        }
    }
}

impl From<ImageSize> for Side {
    fn from(size: ImageSize) -> Side {
        match size.height == size.width {
            true => Side::Square(size.height),
            false => Side::Both([size.height, size.width]),
        }
    }
}

/// The function behind the layers of a network that reads pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureAct {
    /// max(x, 0)
    #[default]
    Relu,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// tanh x
    Tanh,
}

impl From<PictureAct> for Unary {
    fn from(act: PictureAct) -> Unary {
        match act {
            PictureAct::Relu => Unary::Relu,
            PictureAct::Sigmoid => Unary::Sigmoid,
            PictureAct::Tanh => Unary::Tanh,
        }
    }
}

/// Writes 0.1, not 0.10000000149011612, into a `Value`, whose numbers are f64.
pub(super) fn shortest<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    // The shortest text of an f32 is one of an f64 too.
    let digits = value.to_string().parse().unwrap_or(f64::from(*value));
    serializer.serialize_f64(digits)
}

/// As [`shortest`], for what may be missing.
pub(super) fn shortest_option<S: Serializer>(
    value: &Option<f32>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => shortest(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// The fields of a kind of model in its `config.json`.
pub(super) fn parsed<C: DeserializeOwned>(kind: &'static str, json: &Value) -> Result<C> {
    C::deserialize(json).map_err(|e| wrong(kind, e.to_string()))
}

/// The fields of a kind of model, as its `config.json`.
#[cfg(feature = "train")]
pub(super) fn written(kind: &str, fields: &impl Serialize) -> Value {
    // Strings and numbers: this cannot fail.
    let mut json = serde_json::to_value(fields).unwrap_or_default();
    json["model_type"] = kind.into();
    json
}

/// A class of transformers', or of melos's own, that has these tensors.
#[cfg(feature = "train")]
pub(super) const fn class(
    head: crate::hub::Head,
    name: &'static str,
    evidence: &'static [&'static str],
) -> crate::hub::Class {
    crate::hub::Class {
        head,
        name,
        evidence,
    }
}

/// What the norms of BERT and its kin were called in files of long ago.
#[cfg(feature = "train")]
pub(super) const LEGACY_NORMS: &[(&str, &str)] = &[
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
];

/// What a model with a head declares.
#[cfg(feature = "train")]
pub(super) fn declared(config: &dyn super::Config, head: crate::hub::Head) -> Result<Vars> {
    let v = Vars::new();
    config.build(&v, head)?;
    Ok(v)
}

/// A configuration that cannot be built.
pub(super) fn wrong(field: &'static str, message: impl Into<String>) -> Error {
    Error::ModelConfig {
        field,
        message: message.into(),
    }
}

/// The largest sizes of a model, beyond those of any: what is asked for is declared before it is
/// compared with the weights.
pub mod most {
    /// Widths of a token's vector, of a state.
    pub const WIDTH: usize = 1 << 16;
    /// Width of a feed-forward part.
    pub const FEED_FORWARD: usize = 1 << 20;
    /// Layers.
    pub const LAYERS: usize = 1_000;
    /// Positions of a sequence.
    pub const POSITIONS: usize = 1 << 20;
    /// Types of tokens.
    pub const TYPES: usize = 1 << 16;
    /// Pixels of a picture's side.
    pub const SIDE: usize = 1 << 12;
    /// Channels of a picture.
    pub const CHANNELS: usize = 1 << 8;
    /// Outputs of a classifier.
    pub const LABELS: usize = 1 << 20;
    pub use crate::bounded::TOKENS;
}

/// Fails unless every size is at least 1, and at most the number behind it.
pub(super) fn sizes(sizes: &[(&'static str, usize, usize)]) -> Result<()> {
    match sizes
        .iter()
        .find(|(_, size, most)| !(1..=*most).contains(size))
    {
        Some((field, 0, _)) => Err(wrong(field, "is 0; expected 1 or more")),
        Some((field, size, most)) => {
            Err(wrong(field, format!("is {size}; expected {most} at most")))
        }
        None => Ok(()),
    }
}

/// Fails unless every probability is in [0, 1).
pub(super) fn probabilities(all: &[(&'static str, f32)]) -> Result<()> {
    match all.iter().find(|(_, p)| !(0.0..1.0).contains(p)) {
        Some((field, p)) => Err(wrong(field, format!("is {p}; expected 0 <= p < 1"))),
        None => Ok(()),
    }
}

/// Fails unless the heads divide the width.
pub(super) fn heads_divide(field: &'static str, heads: usize, width: usize) -> Result<()> {
    match width % heads {
        0 => Ok(()),
        _ => Err(wrong(
            field,
            format!("is {heads}, which does not divide {width}"),
        )),
    }
}

/// Fails when a field that melos has no use for asks for another model: each with the values that
/// change nothing.
pub(super) fn unsupported(
    fields: &Map<String, Value>,
    harmless: &[(&'static str, &[Value])],
) -> Result<()> {
    for (field, values) in harmless {
        if let Some(value) = fields.get(*field)
            && !value.is_null()
            && !values.contains(value)
        {
            let supported: Vec<String> = values.iter().map(Value::to_string).collect();
            let supported = supported.join(" or ");
            return Err(wrong(
                field,
                format!("is {value}, which melos cannot build; expected {supported}"),
            ));
        }
    }
    Ok(())
}

/// A head that a family does not have.
#[cfg(feature = "train")]
pub(super) fn no_head(family: &dyn super::Family) -> Error {
    let classes = family.format().classes.iter().map(|class| class.name);
    let classes: Vec<&str> = classes.collect();
    wrong(
        "architectures",
        format!(
            "names a class that {} does not have; it has {}",
            family.title(),
            classes.join(", ")
        ),
    )
}
