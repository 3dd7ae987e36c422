//! `config.json` of Llama and its kin.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kin::{Kin, Windows};
use super::rope::{RopeSettings, settings};
use crate::error::Result;
use crate::models::Labels;
use crate::models::config::{most, parsed, probabilities, shortest, sizes, unsupported, wrong};
use crate::ops::Gate;

/// The fields of Hugging Face's `config.json`, with the family's defaults where it leaves some out.
/// Those that have no field here are kept in `other` and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // named as in transformers.LlamaConfig
pub struct LlamaConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// As many as of queries if `None`.
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `None`: the heads divide the model's width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    pub max_position_embeddings: usize,
    #[serde(serialize_with = "shortest")]
    pub rms_norm_eps: f32,
    #[serde(serialize_with = "shortest")]
    pub initializer_range: f32,
    #[serde(serialize_with = "shortest")]
    pub attention_dropout: f32,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    /// A number or several.
    pub eos_token_id: Value,
    pub pad_token_id: Option<u32>,
    #[serde(flatten)]
    pub labels: Labels,
    #[serde(flatten)]
    pub other: Map<String, Value>,
    /// The family.
    #[serde(skip, default = "Kin::llama")]
    pub(super) kin: &'static Kin,
}

/// What the other fields come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Read {
    pub gate: Gate,
    /// Of each layer: how many keys a query sees, where that is bounded.
    pub windows: Vec<Option<usize>>,
    pub rope: RopeSettings,
    /// Biases of q, k and v, of attention's output, and of the feed-forward part.
    pub biases: [bool; 3],
    pub attention_scale: f32,
    pub attention_cap: Option<f32>,
    pub logit_cap: Option<f32>,
    /// Dropout before a head for tokens.
    pub token_dropout: f32,
}

impl LlamaConfig {
    /// The configuration in a `config.json`, of the family that `model_type` names.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] for another family, or when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<LlamaConfig> {
        let kind = json["model_type"].as_str().unwrap_or_default();
        let unknown = || {
            wrong(
                "model_type",
                format!("is '{kind}', which is no kin of Llama's"),
            )
        };
        LlamaConfig::read(Kin::named(kind).ok_or_else(unknown)?, json)
    }

    /// The angles that position 1 turns each pair of columns by in texts of `steps` positions, and what
    /// cosines and sines are multiplied by.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn angles(&self, steps: usize) -> Result<(Vec<f32>, f32)> {
        let rope = self.derived()?.rope.full.rope();
        Ok((rope.frequencies(steps), rope.scale()))
    }

    /// The configuration in a `config.json` of this family.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub(super) fn read(kin: &'static Kin, json: &Value) -> Result<LlamaConfig> {
        let mut all = (kin.defaults)();
        if let (Value::Object(all), Value::Object(given)) = (&mut all, json) {
            all.extend(given.clone());
        }
        let mut config: LlamaConfig = parsed(kin.model_type, &all)?;
        config.kin = kin;
        config.validate()?;
        // Readers of today look there alone.
        let rope = config.derived()?.rope.json();
        config.other.insert("rope_parameters".into(), rope);
        Ok(config)
    }

    /// Checks that such a model can be built.
    fn validate(&self) -> Result<()> {
        sizes(&[
            ("vocab_size", self.vocab_size, most::TOKENS),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                1 << 26,
            ),
            ("hidden_size", self.hidden_size, most::WIDTH),
            (
                "intermediate_size",
                self.intermediate_size,
                most::FEED_FORWARD,
            ),
            ("num_hidden_layers", self.num_hidden_layers, most::LAYERS),
            ("num_attention_heads", self.num_attention_heads, most::WIDTH),
            ("num_key_value_heads", self.kv_heads(), most::WIDTH),
            ("head_dim", self.head_width(), most::WIDTH),
            ("id2label", self.labels.count(), most::LABELS),
        ])?;
        if !self.num_attention_heads.is_multiple_of(self.kv_heads()) {
            let (heads, all) = (self.kv_heads(), self.num_attention_heads);
            let message = format!("is {heads}, which does not divide {all} heads of queries");
            return Err(wrong("num_key_value_heads", message));
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (heads, width) = (self.num_attention_heads, self.hidden_size);
            let message =
                format!("is {heads}, which does not divide {width}, and there is no head_dim");
            return Err(wrong("num_attention_heads", message));
        }
        probabilities(&[("attention_dropout", self.attention_dropout)])?;
        let off = [json!(false)];
        unsupported(
            &self.other,
            &[
                ("use_bidirectional_attention", &off),
                ("pretraining_tp", &[json!(1)]),
                ("quantization_config", &[]),
                ("resid_pdrop", &[json!(0.0), json!(0)]),
                ("embd_pdrop", &[json!(0.0), json!(0)]),
            ],
        )?;
        self.derived().map(drop)
    }

    /// KH
    pub(super) fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// D
    pub(super) fn head_width(&self) -> usize {
        let divided = self.hidden_size / self.num_attention_heads.max(1);
        self.head_dim.unwrap_or(divided)
    }

    /// A field that is not of all families.
    pub(super) fn other<T: for<'a> Deserialize<'a>>(
        &self,
        field: &'static str,
    ) -> Result<Option<T>> {
        match self.other.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match T::deserialize(value) {
                Ok(value) => Ok(Some(value)),
                Err(e) => Err(wrong(field, format!("is {value}: {e}"))),
            },
        }
    }

    /// What follows from the fields that not all families have.
    pub(super) fn derived(&self) -> Result<Read> {
        let kin = self.kin;
        let flag = |field| Ok::<_, crate::Error>(self.other::<bool>(field)?.unwrap_or(false));
        let attention = flag("attention_bias")?;
        let scalar = self.other::<f32>("query_pre_attn_scalar")?;
        let scalar = scalar.unwrap_or(self.head_width() as f32);
        if !(scalar > 0.0 && scalar.is_finite()) {
            let message = format!("is {scalar}; expected a number above 0");
            return Err(wrong("query_pre_attn_scalar", message));
        }
        let cap = |field| match self.other::<f32>(field)? {
            Some(cap) if !(cap > 0.0 && cap.is_finite()) => Err(wrong(
                field,
                format!("is {cap}; expected a number above 0, or null"),
            )),
            cap => Ok(cap),
        };
        let dropout = match self.other("classifier_dropout")? {
            Some(p) => p,
            None => self.other("hidden_dropout")?.unwrap_or(0.1),
        };
        probabilities(&[("classifier_dropout", dropout)])?;
        Ok(Read {
            gate: self.gate()?,
            windows: self.windows()?,
            rope: settings(self)?,
            biases: [kin.qkv_bias || attention, attention, flag("mlp_bias")?],
            attention_scale: 1.0 / scalar.sqrt(),
            attention_cap: match kin.capped {
                true => cap("attn_logit_softcapping")?,
                false => None,
            },
            logit_cap: cap("final_logit_softcapping")?,
            token_dropout: dropout,
        })
    }

    fn gate(&self) -> Result<Gate> {
        // Gemma's first release says "gelu" and means the tanh form; transformers takes it so too.
        let first = self.kin.model_type == "gemma";
        let field = match self.other.contains_key("hidden_activation") {
            true => "hidden_activation",
            false => "hidden_act",
        };
        let name: Option<String> = self.other(field)?;
        match name.as_deref() {
            Some("silu" | "swish") => Ok(Gate::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast") => Ok(Gate::GeluTanh),
            Some("gelu") if first => Ok(Gate::GeluTanh),
            Some("gelu") => Ok(Gate::Gelu),
            other => {
                let name = other.unwrap_or("not given");
                let message = format!("is {name}; expected silu, gelu or gelu_pytorch_tanh");
                Err(wrong(field, message))
            }
        }
    }

    /// Of each layer.
    fn windows(&self) -> Result<Vec<Option<usize>>> {
        let window: Option<usize> = self.other("sliding_window")?;
        if window == Some(0) {
            return Err(wrong("sliding_window", "is 0; expected 1 or more, or null"));
        }
        let types: Option<Vec<String>> = self.other("layer_types")?;
        let layers = self.num_hidden_layers;
        let on = match self.kin.windows {
            Windows::Where if self.other::<bool>("use_sliding_window")? != Some(true) => None,
            Windows::None => None,
            _ => window,
        };
        if let Some(types) = types.filter(|_| self.kin.windows.by_layer()) {
            if types.len() < layers {
                let message = format!("has {} entries for {layers} layers", types.len());
                return Err(wrong("layer_types", message));
            }
            let of = |kind: &String| match kind.as_str() {
                "full_attention" => Ok(None),
                "sliding_attention" => Ok(on),
                other => Err(wrong(
                    "layer_types",
                    format!("names {other}; expected full_attention or sliding_attention"),
                )),
            };
            return types[..layers].iter().map(of).collect();
        }
        let first = self.other::<usize>("max_window_layers")?.unwrap_or(0);
        let every = self.other::<usize>("sliding_window_pattern")?;
        let slides = |layer: usize| match self.kin.windows {
            Windows::None => false,
            Windows::All => true,
            Windows::Where => layer >= first,
            Windows::Every(n) => !(layer + 1).is_multiple_of(every.unwrap_or(n).max(1)),
        };
        Ok((0..layers).map(|l| on.filter(|_| slides(l))).collect())
    }
}
