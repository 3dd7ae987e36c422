//! BERT as a family: its files, its heads.

use serde_json::{Value, json};

use super::{BertConfig, BertForPreTraining, classifier, encoder, masked_lm, pooled, tagger};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{LEGACY_NORMS, class, declared, no_head, written};
use crate::models::{Config, Dropouts, Extent, Family, Labels, Network, Sizes};
use crate::nn::Vars;
use crate::tensor::Depth;
use crate::text::tokenizer::Family as Specials;

/// BERT.
pub struct BertFamily;

/// BERT, for the list of families.
pub static BERT: BertFamily = BertFamily;

static FORMAT: Format = Format {
    model_type: "bert",
    module: "transformers.models.bert.modeling_bert",
    classes: &[
        class(
            Head::NextSentence,
            "BertForPreTraining",
            &["cls.seq_relationship.weight"],
        ),
        class(
            Head::MaskedLm,
            "BertForMaskedLM",
            &["cls.predictions.transform.dense.weight"],
        ),
        class(
            Head::Sequence,
            "BertForSequenceClassification",
            &["classifier.weight", "bert.pooler.dense.weight"],
        ),
        class(
            Head::Token,
            "BertForTokenClassification",
            &["classifier.weight"],
        ),
        class(Head::Base, "BertModel", &[]),
    ],
    prefix: "bert.",
    roots: &["embeddings.", "encoder.", "pooler."],
    legacy: LEGACY_NORMS,
    buffers: &[
        "bert.embeddings.position_ids",
        "bert.embeddings.token_type_ids",
    ],
    tied: &[
        (
            "cls.predictions.decoder.weight",
            "bert.embeddings.word_embeddings.weight",
        ),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
    vocabulary: &[
        "bert.embeddings.word_embeddings.weight",
        "cls.predictions.bias",
    ],
    positions: &["bert.embeddings.position_embeddings.weight"],
    label_layers: &["classifier"],
    optional: &["bert.pooler."],
    targets: &["query", "value"],
    gguf: None,
    told: |_| None,
    shaped: None,
    defaults,
    declare: |json, head| declared(&BertConfig::from_json(json)?, head),
};

impl Family for BertFamily {
    fn title(&self) -> &'static str {
        "BERT"
    }

    fn specials(&self) -> Specials {
        Specials::Bert
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(BertConfig::from_json(json)?))
    }

    fn sized(&self, s: &Sizes) -> Option<Box<dyn Config>> {
        Some(Box::new(BertConfig::default().sized(s)))
    }
}

impl BertConfig {
    /// The same with these sizes and probabilities.
    pub(in crate::models) fn sized(self, s: &Sizes) -> BertConfig {
        let mut config = BertConfig {
            vocab_size: s.vocabulary,
            hidden_size: s.hidden,
            num_hidden_layers: s.layers,
            num_attention_heads: s.heads,
            intermediate_size: s.feed_forward.unwrap_or(4 * s.hidden),
            hidden_act: s.activation.unwrap_or(self.hidden_act),
            max_position_embeddings: s.positions,
            layer_norm_eps: s.norm_eps.unwrap_or(self.layer_norm_eps),
            pad_token_id: s.pad,
            ..self
        };
        config.set_dropouts(&s.dropout);
        config
    }
}

impl Config for BertConfig {
    fn family(&self) -> &'static dyn Family {
        &BERT
    }

    fn to_json(&self) -> Value {
        written(FORMAT.model_type, self)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn positions(&self) -> usize {
        self.max_position_embeddings
    }

    fn extent(&self) -> Extent {
        Extent::transformer(
            self.num_hidden_layers,
            self.hidden_size,
            self.intermediate_size,
            self.hidden_size,
        )
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    fn set_dropouts(&mut self, d: &Dropouts) {
        self.hidden_dropout_prob = d.hidden.unwrap_or(self.hidden_dropout_prob);
        let attention = &mut self.attention_probs_dropout_prob;
        *attention = d.attention.unwrap_or(*attention);
        self.classifier_dropout = d.classifier.or(self.classifier_dropout);
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        Ok(match head {
            Head::Layers => Box::new(encoder(&v.at("bert").depth(Depth::Top), self)?),
            Head::Base => Box::new(pooled(v, self)?),
            Head::MaskedLm => Box::new(masked_lm(v, self)?),
            Head::NextSentence => Box::new(BertForPreTraining::new(v, self)?),
            Head::Sequence => Box::new(classifier(v, self)?),
            Head::Token => Box::new(tagger(v, self)?),
            _ => return Err(no_head(&BERT)),
        })
    }
}

fn defaults() -> Value {
    json!({
        "add_cross_attention": false,
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": null,
        "classifier_dropout": null,
        "eos_token_id": null,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "is_decoder": false,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": "bert",
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 0,
        "tie_word_embeddings": true,
        "type_vocab_size": 2,
        "use_cache": true,
        "vocab_size": 30522,
    })
}
