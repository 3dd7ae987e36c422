//! Names of tensors: the spellings that files use, and the one that melos does.
//!
//! The canonical name is what today's transformers writes for a model with a head:
//! `bert.encoder.layer.0.attention.self.query.weight`, `transformer.h.0.attn.c_attn.weight`. Files
//! may lack the model's prefix (those of a bare `BertModel`, the first GPT-2 files) or say `gamma`
//! and `beta` (those made from TensorFlow's).

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

/// Whose names a checkpoint uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Hugging Face's BERT.
    Bert,
    /// Hugging Face's GPT-2.
    Gpt2,
    /// Anything else: names are taken as they are.
    Other,
}

/// Buffers that older versions saved and that follow from the configuration.
const BERT_BUFFERS: &[&str] = &[
    "bert.embeddings.position_ids",
    "bert.embeddings.token_type_ids",
];
const GPT2_BUFFERS: &[&str] = &[".attn.bias", ".attn.masked_bias"];

impl Family {
    /// Told from `config.json`, or where that does not say from the tensors' names.
    pub fn detect<'a>(config: &Value, mut names: impl Iterator<Item = &'a str>) -> Family {
        match config["model_type"].as_str() {
            Some("bert") => Family::Bert,
            Some("gpt2") => Family::Gpt2,
            Some(_) => Family::Other,
            None => names
                .find_map(|name| match name {
                    "bert.embeddings.word_embeddings.weight"
                    | "embeddings.word_embeddings.weight" => Some(Family::Bert),
                    "transformer.wte.weight" | "wte.weight" => Some(Family::Gpt2),
                    _ => None,
                })
                .unwrap_or(Family::Other),
        }
    }

    /// The module of transformers that has its classes.
    pub fn module(self) -> Option<&'static str> {
        match self {
            Family::Bert => Some("transformers.models.bert.modeling_bert"),
            Family::Gpt2 => Some("transformers.models.gpt2.modeling_gpt2"),
            Family::Other => None,
        }
    }

    /// What stands before the names of the model without its head.
    pub fn prefix(self) -> &'static str {
        match self {
            Family::Bert => "bert.",
            Family::Gpt2 => "transformer.",
            Family::Other => "",
        }
    }

    fn roots(self) -> &'static [&'static str] {
        match self {
            Family::Bert => &["embeddings.", "encoder.", "pooler."],
            Family::Gpt2 => &["wte.", "wpe.", "h.", "ln_f."],
            Family::Other => &[],
        }
    }

    /// Whether a name lacks the model's prefix.
    pub fn is_bare(self, name: &str) -> bool {
        self.roots().iter().any(|root| name.starts_with(root))
    }

    /// The canonical name of a tensor (or module).
    pub fn canonical(self, stored: &str) -> String {
        let mut name = Cow::Borrowed(stored);
        if self == Family::Bert {
            for (old, new) in [("gamma", "weight"), ("beta", "bias")] {
                if let Some(stem) = stored.strip_suffix(old)
                    && stem.ends_with("LayerNorm.")
                {
                    name = format!("{stem}{new}").into();
                }
            }
        }
        if self.is_bare(&name) {
            format!("{}{name}", self.prefix())
        } else {
            name.into_owned()
        }
    }

    /// A canonical name as some files spell it: `bare`, without the model's prefix; `legacy`, with
    /// BERT's `gamma` and `beta`.
    pub fn spelled(self, canonical: &str, bare: bool, legacy: bool) -> String {
        let mut name = canonical.to_string();
        if legacy && self == Family::Bert {
            for (new, old) in [("LayerNorm.weight", "gamma"), ("LayerNorm.bias", "beta")] {
                if let Some(stem) = name.strip_suffix(new) {
                    name = format!("{stem}LayerNorm.{old}");
                    break;
                }
            }
        }
        match name.strip_prefix(self.prefix()) {
            Some(rest) if bare => rest.to_string(),
            _ => name,
        }
    }

    /// Whether a canonical name is that of a buffer, which no model needs from a file.
    pub fn is_buffer(self, canonical: &str) -> bool {
        match self {
            Family::Bert => BERT_BUFFERS.contains(&canonical),
            Family::Gpt2 => GPT2_BUFFERS.iter().any(|b| canonical.ends_with(b)),
            Family::Other => false,
        }
    }

    /// Tensors that are one with another: (the copy that some files hold, the original).
    pub fn tied(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Family::Bert => &[
                (
                    "cls.predictions.decoder.weight",
                    "bert.embeddings.word_embeddings.weight",
                ),
                ("cls.predictions.decoder.bias", "cls.predictions.bias"),
            ],
            Family::Gpt2 => &[("lm_head.weight", "transformer.wte.weight")],
            Family::Other => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_has_one_canonical_name() {
        let names = [
            (
                Family::Bert,
                "embeddings.LayerNorm.gamma",
                "bert.embeddings.LayerNorm.weight",
            ),
            (
                Family::Bert,
                "bert.embeddings.LayerNorm.beta",
                "bert.embeddings.LayerNorm.bias",
            ),
            (Family::Bert, "pooler.dense.bias", "bert.pooler.dense.bias"),
            (Family::Bert, "cls.predictions.bias", "cls.predictions.bias"),
            (Family::Bert, "classifier.gamma", "classifier.gamma"),
            (
                Family::Gpt2,
                "h.0.ln_1.weight",
                "transformer.h.0.ln_1.weight",
            ),
            (
                Family::Gpt2,
                "transformer.wte.weight",
                "transformer.wte.weight",
            ),
            (Family::Gpt2, "lm_head.weight", "lm_head.weight"),
            (Family::Other, "embedding.weight", "embedding.weight"),
        ];
        for (family, stored, canonical) in names {
            assert_eq!(family.canonical(stored), canonical);
            // And back from any way of writing it.
            for (bare, legacy) in [(false, false), (true, false), (false, true), (true, true)] {
                let spelled = family.spelled(canonical, bare, legacy);
                assert_eq!(family.canonical(&spelled), canonical, "{spelled}");
            }
        }
        assert_eq!(
            Family::Bert.spelled("bert.embeddings.LayerNorm.bias", true, true),
            "embeddings.LayerNorm.beta"
        );
        // A projection's bias is not the mask that stood beside it.
        assert!(Family::Gpt2.is_buffer("transformer.h.0.attn.bias"));
        assert!(Family::Gpt2.is_buffer("transformer.h.0.attn.masked_bias"));
        assert!(!Family::Gpt2.is_buffer("transformer.h.0.attn.c_attn.bias"));
    }
}
