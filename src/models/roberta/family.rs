//! RoBERTa and XLM-R as families: their files, their heads.

use serde_json::{Value, json};

use super::heads::roberta;
use super::{RobertaConfig, classifier, masked_lm, pooled, tagger};
use crate::error::Result;
use crate::hub::{Class, Format, Head};
use crate::models::bert::BertConfig;
use crate::models::config::{LEGACY_NORMS, declared, no_head, written};
use crate::models::{Config, Dropouts, Extent, Family, Labels, Network, Sizes};
use crate::nn::Vars;
use crate::text::tokenizer::Family as Specials;

/// RoBERTa or XLM-R.
pub struct RobertaFamily {
    title: &'static str,
    multilingual: bool,
    format: &'static Format,
}

/// RoBERTa, for the list of families.
pub static ROBERTA: RobertaFamily = RobertaFamily {
    title: "RoBERTa",
    multilingual: false,
    format: &FORMAT,
};

/// XLM-R, for the list of families.
pub static XLM_ROBERTA: RobertaFamily = RobertaFamily {
    title: "XLM-R",
    multilingual: true,
    format: &XLM_FORMAT,
};

static FORMAT: Format = format(
    "roberta",
    "transformers.models.roberta.modeling_roberta",
    &[
        class(Head::MaskedLm, "RobertaForMaskedLM"),
        class(Head::Sequence, "RobertaForSequenceClassification"),
        class(Head::Token, "RobertaForTokenClassification"),
        class(Head::Base, "RobertaModel"),
    ],
    || defaults(false),
);

static XLM_FORMAT: Format = format(
    "xlm-roberta",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    &[
        class(Head::MaskedLm, "XLMRobertaForMaskedLM"),
        class(Head::Sequence, "XLMRobertaForSequenceClassification"),
        class(Head::Token, "XLMRobertaForTokenClassification"),
        class(Head::Base, "XLMRobertaModel"),
    ],
    || defaults(true),
);

const fn class(head: Head, name: &'static str) -> Class {
    let evidence: &[&str] = match head {
        Head::MaskedLm => &["lm_head.dense.weight"],
        Head::Sequence => &["classifier.out_proj.weight"],
        Head::Token => &["classifier.weight"],
        _ => &[],
    };
    Class {
        head,
        name,
        evidence,
    }
}

const fn format(
    model_type: &'static str,
    module: &'static str,
    classes: &'static [Class],
    defaults: fn() -> Value,
) -> Format {
    Format {
        model_type,
        module,
        classes,
        prefix: "roberta.",
        roots: &["embeddings.", "encoder.", "pooler."],
        legacy: LEGACY_NORMS,
        buffers: &[
            "roberta.embeddings.position_ids",
            "roberta.embeddings.token_type_ids",
        ],
        tied: &[
            (
                "lm_head.decoder.weight",
                "roberta.embeddings.word_embeddings.weight",
            ),
            ("lm_head.decoder.bias", "lm_head.bias"),
        ],
        vocabulary: &["roberta.embeddings.word_embeddings.weight", "lm_head.bias"],
        positions: &["roberta.embeddings.position_embeddings.weight"],
        label_layers: &["classifier.out_proj", "classifier"],
        optional: &["roberta.pooler."],
        targets: &["query", "value"],
        gguf: None,
        told: |_| None,
        shaped: None,
        defaults,
        declare: |json, head| declared(&RobertaConfig::from_json(json)?, head),
    }
}

impl Family for RobertaFamily {
    fn title(&self) -> &'static str {
        self.title
    }

    fn specials(&self) -> Specials {
        Specials::Bert
    }

    fn format(&self) -> &'static Format {
        self.format
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(RobertaConfig::from_json(json)?))
    }

    fn sized(&self, s: &Sizes) -> Option<Box<dyn Config>> {
        let mut config = RobertaConfig::new(self.multilingual);
        let pad = s.pad.or(config.bert.pad_token_id);
        config.bert = BertConfig {
            max_position_embeddings: s.positions + pad.map_or(0, |pad| pad as usize + 1),
            type_vocab_size: 1,
            pad_token_id: pad,
            ..config.bert.sized(s)
        };
        // Otherwise they would be those of RoBERTa's own vocabulary.
        for (field, token) in [("bos_token_id", s.begin), ("eos_token_id", s.end)] {
            config.bert.other.insert(field.into(), json!(token));
        }
        Some(Box::new(config))
    }
}

impl Config for RobertaConfig {
    fn family(&self) -> &'static dyn Family {
        if self.multilingual {
            &XLM_ROBERTA
        } else {
            &ROBERTA
        }
    }

    fn to_json(&self) -> Value {
        written(self.kind(), &self.bert)
    }

    fn vocab_size(&self) -> usize {
        self.bert.vocab_size
    }

    fn positions(&self) -> usize {
        let first = self.first_position().unwrap_or(0);
        self.bert.max_position_embeddings.saturating_sub(first)
    }

    fn extent(&self) -> Extent {
        self.bert.extent()
    }

    fn labels(&self) -> &Labels {
        &self.bert.labels
    }

    fn set_labels(&mut self, labels: Labels) {
        self.bert.labels = labels;
    }

    fn set_dropouts(&mut self, dropouts: &Dropouts) {
        self.bert.set_dropouts(dropouts);
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        Ok(match head {
            Head::Layers => Box::new(roberta(v, self)?),
            Head::Base => Box::new(pooled(v, self)?),
            Head::MaskedLm => Box::new(masked_lm(v, self)?),
            Head::Sequence => Box::new(classifier(v, self)?),
            Head::Token => Box::new(tagger(v, self)?),
            _ => return Err(no_head(self.family())),
        })
    }
}

fn defaults(multilingual: bool) -> Value {
    let config = RobertaConfig::new(multilingual);
    json!({
        "add_cross_attention": false,
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "classifier_dropout": null,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 768,
        "initializer_range": 0.02,
        "intermediate_size": 3072,
        "is_decoder": false,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "model_type": config.kind(),
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "pad_token_id": 1,
        "tie_word_embeddings": true,
        "type_vocab_size": 2,
        "use_cache": true,
        "vocab_size": config.bert.vocab_size,
    })
}
