//! `config.json` of a GPT-2 model, and the parameters it stands for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Head;
use crate::error::Result;
use crate::models::Labels;
use crate::models::config::{
    at_least_one, heads_divide, probabilities, shortest, unsupported, wrong,
};
use crate::nn::{HiddenAct, LayerNorm, LinearShape, LoraPlan};
use crate::ops::WeightLayout;
use crate::tensor::{Init, ParamSpec};

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

/// Names of a layer's linear layers, shared by specs and model.
pub(super) struct LayerShapes {
    pub c_attn: LinearShape,
    pub attention_output: LinearShape,
    pub up: LinearShape,
    pub down: LinearShape,
}

impl Gpt2Config {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<Gpt2Config> {
        let config: Gpt2Config =
            serde_json::from_value(json.clone()).map_err(|e| wrong("gpt2", e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a model can be built.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn validate(&self) -> Result<()> {
        at_least_one(&[
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.inner()),
            ("id2label", self.labels.count()),
        ])?;
        probabilities(&[
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
        ])?;
        heads_divide("n_head", self.n_head, self.n_embd)?;
        unsupported(&self.other, &[("add_cross_attention", &[json!(false)])])
    }

    fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
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

    pub(super) fn layer(&self, index: usize) -> LayerShapes {
        let (width, inner) = (self.n_embd, self.inner());
        let range = self.initializer_range;
        // Each layer adds two results to the residual: so many that their sum keeps its size
        // (Radford et al. 2019, section 2.3).
        let residual = range / ((2 * self.n_layer) as f32).sqrt();
        let conv = |name: &str, inputs, outputs, std| LinearShape {
            name: format!("transformer.h.{index}.{name}"),
            inputs,
            outputs,
            layout: WeightLayout::InOut,
            bias: true,
            std,
        };
        LayerShapes {
            c_attn: conv("attn.c_attn", width, 3 * width, range),
            attention_output: conv("attn.c_proj", width, width, residual),
            up: conv("mlp.c_fc", width, inner, range),
            down: conv("mlp.c_proj", inner, width, residual),
        }
    }

    pub(super) fn score(&self) -> LinearShape {
        LinearShape {
            name: "score".into(),
            inputs: self.n_embd,
            outputs: self.labels.count(),
            layout: WeightLayout::OutIn,
            bias: false,
            std: self.initializer_range,
        }
    }

    /// Every linear layer of a model with this head: what LoRA can adapt.
    pub fn linear_layers(&self, head: Head) -> Vec<LinearShape> {
        let layers = (0..self.n_layer).flat_map(|index| {
            let l = self.layer(index);
            [l.c_attn, l.attention_output, l.up, l.down]
        });
        let score = (head == Head::SequenceClassification).then(|| self.score());
        layers.chain(score).collect()
    }

    /// The parameters of a model with this head, adapted as `plan` says, under Hugging Face's names
    /// and with its initial values; tied ones once. The adapters stand last.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`]; those of [`LoraPlan::specs`].
    pub fn specs(&self, head: Head, plan: &LoraPlan) -> Result<Vec<ParamSpec>> {
        self.validate()?;
        let (width, normal) = (self.n_embd, Init::Normal(self.initializer_range));
        let mut specs = vec![
            ParamSpec::new("transformer.wte.weight", [self.vocab_size, width], normal),
            ParamSpec::new("transformer.wpe.weight", [self.n_positions, width], normal),
        ];
        for index in 0..self.n_layer {
            let l = self.layer(index);
            let norm =
                |name: &str| LayerNorm::specs(&format!("transformer.h.{index}.{name}"), width);
            specs.extend(norm("ln_1"));
            specs.extend(l.c_attn.specs());
            specs.extend(l.attention_output.specs());
            specs.extend(norm("ln_2"));
            specs.extend(l.up.specs());
            specs.extend(l.down.specs());
        }
        specs.extend(LayerNorm::specs("transformer.ln_f", width));
        match head {
            Head::None => {}
            Head::Lm if self.tie_word_embeddings => {}
            Head::Lm => {
                let shape = [self.vocab_size, width];
                specs.push(ParamSpec::new("lm_head.weight", shape, normal));
            }
            Head::SequenceClassification => specs.extend(self.score().specs()),
        }
        specs.extend(plan.specs(&self.linear_layers(head))?);
        Ok(specs)
    }
}
