//! Llama and its kin as families: their files, their heads.

use serde_json::{Value, json};

use super::kin::{self, Kin};
use super::{LlamaConfig, gguf};
use crate::error::Result;
use crate::hub::{Class, Format, Head};
use crate::models::config::{class, declared, no_head, written};
use crate::models::{Config, Dropouts, Extent, Family, Labels, Network, Sizes};
use crate::nn::Vars;
use crate::text::tokenizer::Family as Specials;

/// One of the families.
pub struct LlamaFamily {
    kin: &'static Kin,
    format: Format,
}

const fn classes(names: [&'static str; 4]) -> [Class; 4] {
    let [sequence, token, lm, base] = names;
    [
        class(Head::Token, token, &["score.bias"]),
        class(Head::Sequence, sequence, &["score.weight"]),
        class(Head::CausalLm, lm, &[]),
        class(Head::Base, base, &[]),
    ]
}

const fn format(model_type: &'static str, classes: &'static [Class]) -> Format {
    Format {
        model_type,
        module: "",
        classes,
        prefix: "model.",
        roots: &["embed_tokens.", "layers.", "norm."],
        legacy: &[],
        buffers: &[".rotary_emb.inv_freq"],
        tied: &[("lm_head.weight", "model.embed_tokens.weight")],
        vocabulary: &["model.embed_tokens.weight", "lm_head.weight"],
        positions: &[],
        label_layers: &["score"],
        optional: &[],
        targets: &["q_proj", "v_proj"],
        gguf: None,
        told: |_| None,
        shaped: None,
        defaults: || json!({}),
        declare: |_, _| Ok(Vars::new()),
    }
}

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $classes:ident $of:expr, $module:literal;)*) => {$(
        static $classes: [Class; 4] = classes($of);

        $(#[$doc])*
        pub static $name: LlamaFamily = LlamaFamily {
            kin: &kin::$name,
            format: Format {
                module: $module,
                gguf: gguf::$name,
                shaped: None,
                defaults: || (kin::$name.defaults)(),
                declare: |json, head| declared(&LlamaConfig::read(&kin::$name, json)?, head),
                ..format(kin::$name.model_type, &$classes)
            },
        };
    )*};
}

families! {
    /// Llama 1 to 3.3, SmolLM, TinyLlama.
    LLAMA = LLAMA_CLASSES [
        "LlamaForSequenceClassification", "LlamaForTokenClassification", "LlamaForCausalLM", "LlamaModel",
    ], "transformers.models.llama.modeling_llama";
    /// Mistral.
    MISTRAL = MISTRAL_CLASSES [
        "MistralForSequenceClassification", "MistralForTokenClassification", "MistralForCausalLM",
        "MistralModel",
    ], "transformers.models.mistral.modeling_mistral";
    /// Qwen 2 and 2.5.
    QWEN2 = QWEN2_CLASSES [
        "Qwen2ForSequenceClassification", "Qwen2ForTokenClassification", "Qwen2ForCausalLM", "Qwen2Model",
    ], "transformers.models.qwen2.modeling_qwen2";
    /// Qwen 3.
    QWEN3 = QWEN3_CLASSES [
        "Qwen3ForSequenceClassification", "Qwen3ForTokenClassification", "Qwen3ForCausalLM", "Qwen3Model",
    ], "transformers.models.qwen3.modeling_qwen3";
    /// The first Gemma.
    GEMMA = GEMMA_CLASSES [
        "GemmaForSequenceClassification", "GemmaForTokenClassification", "GemmaForCausalLM", "GemmaModel",
    ], "transformers.models.gemma.modeling_gemma";
    /// Gemma 2.
    GEMMA2 = GEMMA2_CLASSES [
        "Gemma2ForSequenceClassification", "Gemma2ForTokenClassification", "Gemma2ForCausalLM",
        "Gemma2Model",
    ], "transformers.models.gemma2.modeling_gemma2";
    /// The text part of Gemma 3.
    GEMMA3 = GEMMA3_CLASSES [
        "Gemma3TextForSequenceClassification", "Gemma3TextForTokenClassification", "Gemma3ForCausalLM",
        "Gemma3TextModel",
    ], "transformers.models.gemma3.modeling_gemma3";
    /// Phi-3 and Phi-4-mini.
    PHI3 = PHI3_CLASSES [
        "Phi3ForSequenceClassification", "Phi3ForTokenClassification", "Phi3ForCausalLM", "Phi3Model",
    ], "transformers.models.phi3.modeling_phi3";
}

impl LlamaFamily {
    fn of(kin: &Kin) -> &'static LlamaFamily {
        let all = [
            &LLAMA, &MISTRAL, &QWEN2, &QWEN3, &GEMMA, &GEMMA2, &GEMMA3, &PHI3,
        ];
        let found = all.into_iter().find(|family| family.kin == kin);
        found.unwrap_or(&LLAMA)
    }
}

impl Family for LlamaFamily {
    fn title(&self) -> &'static str {
        self.kin.title
    }

    fn specials(&self) -> Specials {
        Specials::Gpt2
    }

    fn format(&self) -> &'static Format {
        &LlamaFamily::of(self.kin).format
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(LlamaConfig::read(self.kin, json)?))
    }

    fn sized(&self, s: &Sizes) -> Option<Box<dyn Config>> {
        let mut json = (self.kin.defaults)();
        let inner = s.feed_forward.unwrap_or(4 * s.hidden);
        let sizes = [
            ("vocab_size", s.vocabulary),
            ("hidden_size", s.hidden),
            ("intermediate_size", inner),
            ("num_hidden_layers", s.layers),
            ("num_attention_heads", s.heads),
            ("num_key_value_heads", s.heads),
            ("max_position_embeddings", s.positions),
        ];
        for (key, size) in sizes {
            json[key] = size.into();
        }
        json["head_dim"] = (s.hidden / s.heads.max(1)).into();
        json["bos_token_id"] = s.begin.or(s.end).into();
        json["eos_token_id"] = s.end.into();
        json["pad_token_id"] = s.pad.into();
        json["tie_word_embeddings"] = true.into();
        let mut config = LlamaConfig::read(self.kin, &json).ok()?;
        config.rms_norm_eps = s.norm_eps.unwrap_or(config.rms_norm_eps);
        config.set_dropouts(&s.dropout);
        Some(Box::new(config))
    }
}

impl Config for LlamaConfig {
    fn family(&self) -> &'static dyn Family {
        LlamaFamily::of(self.kin)
    }

    fn to_json(&self) -> Value {
        written(self.kin.model_type, self)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn positions(&self) -> usize {
        self.max_position_embeddings
    }

    fn extent(&self) -> Extent {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        let own = self.num_attention_heads * self.head_width();
        let shared = self.kv_heads() * self.head_width();
        let normed = if self.kin.head_norms { own + shared } else { 0 };
        let sums = if self.kin.sum_norms { 2 * width } else { 0 };
        Extent {
            layers: self.num_hidden_layers,
            base: 3 * width,
            // Its input and the sum of its halves, each normalised; q, k, v and their mean; the gate,
            // what it lets through, and both.
            layer: 4 * width + 2 * (own + shared) + normed + sums + 3 * inner,
            recomputed: Some(width),
            widest: inner.max(own + 2 * shared),
        }
    }

    fn ends(&self) -> [Option<u32>; 2] {
        let first = match &self.eos_token_id {
            Value::Array(all) => all.first().cloned(),
            one => Some(one.clone()),
        };
        let end = first.and_then(|id| id.as_u64()?.try_into().ok());
        [self.bos_token_id, end]
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    fn set_padding(&mut self, pad: u32) {
        self.pad_token_id = Some(pad);
    }

    fn set_dropouts(&mut self, d: &Dropouts) {
        self.attention_dropout = d.attention.unwrap_or(self.attention_dropout);
        if let Some(p) = d.classifier {
            // As written, 0.1 and not 0.10000000149.
            let p: f64 = p.to_string().parse().unwrap_or(p.into());
            self.other.insert("classifier_dropout".into(), p.into());
        }
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        Ok(match head {
            Head::Layers | Head::Base => Box::new(self.layers(v)?),
            Head::CausalLm => Box::new(self.language_model(v)?),
            Head::Sequence => Box::new(self.classifier(v)?),
            Head::Token => Box::new(self.tagger(v)?),
            _ => return Err(no_head(self.family())),
        })
    }
}
