//! `config.json` of a RoBERTa or XLM-R model.

use serde_json::Value;

use crate::error::Result;
use crate::models::bert::BertConfig;
use crate::models::config::wrong;

/// The fields of Hugging Face's `config.json`, which are BERT's with defaults of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct RobertaConfig {
    /// Sizes, rates and labels.
    pub bert: BertConfig,
    /// Whether it is XLM-R, which in transformers has its own `model_type` and classes.
    pub multilingual: bool,
}

impl RobertaConfig {
    /// The defaults of one of the two.
    pub fn new(multilingual: bool) -> RobertaConfig {
        RobertaConfig {
            bert: BertConfig {
                vocab_size: if multilingual { 30_522 } else { 50_265 },
                pad_token_id: Some(1),
                ..BertConfig::default()
            },
            multilingual,
        }
    }

    /// `model_type`.
    pub fn kind(&self) -> &'static str {
        if self.multilingual {
            "xlm-roberta"
        } else {
            "roberta"
        }
    }

    /// The configuration in a `config.json`, of the kind that its `model_type` says.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] when a field has the wrong type or value.
    pub fn from_json(json: &Value) -> Result<RobertaConfig> {
        let mut config = RobertaConfig::new(json["model_type"] == "xlm-roberta");
        let mut json = json.clone();
        if let Some(fields) = json.as_object_mut() {
            let defaults = &config.bert;
            for (field, value) in [
                ("vocab_size", defaults.vocab_size.into()),
                ("pad_token_id", defaults.pad_token_id.into()),
            ] {
                fields.entry(field).or_insert(value);
            }
        }
        config.bert = BertConfig::of_kind(config.kind(), &json)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that such a model can be built.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`].
    pub fn validate(&self) -> Result<()> {
        self.bert.validate()?;
        let first = self.first_position()?;
        if self.bert.max_position_embeddings > first {
            return Ok(());
        }
        let most = self.bert.max_position_embeddings;
        Err(wrong(
            "max_position_embeddings",
            format!("is {most}; positions begin at {first}, behind pad_token_id"),
        ))
    }

    /// The position of a sequence's first token: that of padding is `pad_token_id`.
    ///
    /// # Errors
    /// [`crate::Error::ModelConfig`] without a padding token.
    pub fn first_position(&self) -> Result<usize> {
        let pad = self.bert.pad_token_id.ok_or_else(|| {
            wrong(
                "pad_token_id",
                "is not set; positions are counted from it, expected 1 as a rule",
            )
        })?;
        Ok(pad as usize + 1)
    }
}
