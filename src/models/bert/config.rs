//! `config.json` of a BERT model, and the parameters it stands for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Head;
use crate::error::Result;
use crate::models::Labels;
use crate::models::config::{
    at_least_one, heads_divide, probabilities, shortest, shortest_option, unsupported, wrong,
};
use crate::nn::{HiddenAct, LayerNorm, LinearShape, LoraPlan};
use crate::ops::WeightLayout;
use crate::tensor::{Init, ParamSpec};

/// The fields of Hugging Face's `config.json` with its defaults (BERT-base). Those that melos has
/// no use for are kept in `other` and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // named as in transformers.BertConfig
pub struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: HiddenAct,
    #[serde(serialize_with = "shortest")]
    pub hidden_dropout_prob: f32,
    #[serde(serialize_with = "shortest")]
    pub attention_probs_dropout_prob: f32,
    /// Before a classifier's output layer; `None`: `hidden_dropout_prob`.
    #[serde(serialize_with = "shortest_option")]
    pub classifier_dropout: Option<f32>,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    #[serde(serialize_with = "shortest")]
    pub initializer_range: f32,
    #[serde(serialize_with = "shortest")]
    pub layer_norm_eps: f32,
    pub pad_token_id: Option<u32>,
    pub tie_word_embeddings: bool,
    #[serde(flatten)]
    pub labels: Labels,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for BertConfig {
    fn default() -> BertConfig {
        BertConfig {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(0),
            tie_word_embeddings: true,
            labels: Labels::default(),
            other: Map::new(),
        }
    }
}

/// Names of a layer's linear layers, shared by specs and model.
pub(super) struct LayerShapes {
    pub query: LinearShape,
    pub key: LinearShape,
    pub value: LinearShape,
    pub attention_output: LinearShape,
    pub intermediate: LinearShape,
    pub output: LinearShape,
}

impl BertConfig {
    /// The configuration in a `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<BertConfig> {
        let config: BertConfig =
            serde_json::from_value(json.clone()).map_err(|e| wrong("bert", e.to_string()))?;
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
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
            ("id2label", self.labels.count()),
        ])?;
        probabilities(&[
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ])?;
        heads_divide(
            "num_attention_heads",
            self.num_attention_heads,
            self.hidden_size,
        )?;
        unsupported(
            &self.other,
            &[
                ("position_embedding_type", &[json!("absolute")]),
                ("is_decoder", &[json!(false)]),
                ("add_cross_attention", &[json!(false)]),
                ("pruned_heads", &[json!({})]),
            ],
        )
    }

    pub(super) fn linear(&self, name: String, inputs: usize, outputs: usize) -> LinearShape {
        LinearShape {
            name,
            inputs,
            outputs,
            layout: WeightLayout::OutIn,
            bias: true,
            std: self.initializer_range,
        }
    }

    pub(super) fn layer(&self, index: usize) -> LayerShapes {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let linear = |name: &str, inputs, outputs| {
            self.linear(
                format!("bert.encoder.layer.{index}.{name}"),
                inputs,
                outputs,
            )
        };
        LayerShapes {
            query: linear("attention.self.query", width, width),
            key: linear("attention.self.key", width, width),
            value: linear("attention.self.value", width, width),
            attention_output: linear("attention.output.dense", width, width),
            intermediate: linear("intermediate.dense", width, inner),
            output: linear("output.dense", inner, width),
        }
    }

    pub(super) fn pooler(&self) -> LinearShape {
        self.linear(
            "bert.pooler.dense".into(),
            self.hidden_size,
            self.hidden_size,
        )
    }

    pub(super) fn transform(&self) -> LinearShape {
        let name = "cls.predictions.transform.dense".into();
        self.linear(name, self.hidden_size, self.hidden_size)
    }

    pub(super) fn next_sentence(&self) -> LinearShape {
        self.linear("cls.seq_relationship".into(), self.hidden_size, 2)
    }

    pub(super) fn classifier(&self) -> LinearShape {
        self.linear("classifier".into(), self.hidden_size, self.labels.count())
    }

    fn head_layers(&self, head: Head) -> Vec<LinearShape> {
        match head {
            Head::None => vec![],
            Head::Pooler => vec![self.pooler()],
            Head::MaskedLm => vec![self.transform()],
            Head::PreTraining => vec![self.pooler(), self.transform(), self.next_sentence()],
            Head::SequenceClassification => vec![self.pooler(), self.classifier()],
            Head::TokenClassification => vec![self.classifier()],
        }
    }

    /// Every linear layer of a model with this head: what LoRA can adapt.
    pub fn linear_layers(&self, head: Head) -> Vec<LinearShape> {
        let layers = (0..self.num_hidden_layers).flat_map(|index| {
            let l = self.layer(index);
            [
                l.query,
                l.key,
                l.value,
                l.attention_output,
                l.intermediate,
                l.output,
            ]
        });
        layers.chain(self.head_layers(head)).collect()
    }

    /// The parameters of a model with this head, adapted as `plan` says, under Hugging Face's names
    /// and with its initial values; tied ones once. The adapters stand last.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`]; those of [`LoraPlan::specs`].
    pub fn specs(&self, head: Head, plan: &LoraPlan) -> Result<Vec<ParamSpec>> {
        self.validate()?;
        let normal = Init::Normal(self.initializer_range);
        let width = self.hidden_size;
        let table = |name: &str, rows: usize| {
            ParamSpec::new(
                format!("bert.embeddings.{name}.weight"),
                [rows, width],
                normal,
            )
        };
        let mut specs = vec![
            table("word_embeddings", self.vocab_size),
            table("position_embeddings", self.max_position_embeddings),
            table("token_type_embeddings", self.type_vocab_size),
        ];
        specs.extend(LayerNorm::specs("bert.embeddings.LayerNorm", width));
        for index in 0..self.num_hidden_layers {
            let l = self.layer(index);
            let prefix = format!("bert.encoder.layer.{index}");
            for layer in [&l.query, &l.key, &l.value, &l.attention_output] {
                specs.extend(layer.specs());
            }
            let norm = format!("{prefix}.attention.output.LayerNorm");
            specs.extend(LayerNorm::specs(&norm, width));
            specs.extend(l.intermediate.specs());
            specs.extend(l.output.specs());
            specs.extend(LayerNorm::specs(
                &format!("{prefix}.output.LayerNorm"),
                width,
            ));
        }
        specs.extend(self.head_layers(head).iter().flat_map(LinearShape::specs));
        if matches!(head, Head::MaskedLm | Head::PreTraining) {
            specs.extend(LayerNorm::specs(
                "cls.predictions.transform.LayerNorm",
                width,
            ));
            let zeros = Init::Constant(0.0);
            let shape = [self.vocab_size];
            specs.push(ParamSpec::new("cls.predictions.bias", shape, zeros));
            if !self.tie_word_embeddings {
                let shape = [self.vocab_size, width];
                let name = "cls.predictions.decoder.weight";
                specs.push(ParamSpec::new(name, shape, normal));
            }
        }
        specs.extend(plan.specs(&self.linear_layers(head))?);
        Ok(specs)
    }
}
