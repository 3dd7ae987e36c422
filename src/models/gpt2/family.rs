//! GPT-2 as a family: its files, its heads.

use serde_json::{Value, json};

use super::gguf::GGUF;
use super::{Gpt2Config, gpt2, gpt2_classifier, gpt2_lm};
use crate::error::Result;
use crate::hub::{Format, Head};
use crate::models::config::{class, declared, no_head, written};
use crate::models::{Config, Dropouts, Extent, Family, Labels, Network, Sizes};
use crate::nn::Vars;
use crate::text::tokenizer::Family as Specials;

/// GPT-2.
pub struct Gpt2Family;

/// GPT-2, for the list of families.
pub static GPT2: Gpt2Family = Gpt2Family;

static FORMAT: Format = Format {
    model_type: "gpt2",
    module: "transformers.models.gpt2.modeling_gpt2",
    classes: &[
        class(
            Head::Sequence,
            "GPT2ForSequenceClassification",
            &["score.weight"],
        ),
        class(Head::CausalLm, "GPT2LMHeadModel", &[]),
        class(Head::Base, "GPT2Model", &[]),
    ],
    prefix: "transformer.",
    roots: &["wte.", "wpe.", "h.", "ln_f."],
    legacy: &[],
    buffers: &[".attn.bias", ".attn.masked_bias"],
    tied: &[("lm_head.weight", "transformer.wte.weight")],
    vocabulary: &["transformer.wte.weight"],
    positions: &["transformer.wpe.weight"],
    label_layers: &["score"],
    optional: &[],
    targets: &["c_attn"],
    gguf: Some(&GGUF),
    told: |_| None,
    shaped: None,
    defaults,
    declare: |json, head| declared(&Gpt2Config::from_json(json)?, head),
};

impl Family for Gpt2Family {
    fn title(&self) -> &'static str {
        "GPT-2"
    }

    fn specials(&self) -> Specials {
        Specials::Gpt2
    }

    fn format(&self) -> &'static Format {
        &FORMAT
    }

    fn read(&self, json: &Value) -> Result<Box<dyn Config>> {
        Ok(Box::new(Gpt2Config::from_json(json)?))
    }

    fn sized(&self, s: &Sizes) -> Option<Box<dyn Config>> {
        let default = Gpt2Config::default();
        let mut config = Gpt2Config {
            vocab_size: s.vocabulary,
            n_positions: s.positions,
            n_embd: s.hidden,
            n_layer: s.layers,
            n_head: s.heads,
            n_inner: s.feed_forward,
            activation_function: s.activation.unwrap_or(default.activation_function),
            layer_norm_epsilon: s.norm_eps.unwrap_or(default.layer_norm_epsilon),
            bos_token_id: s.begin.or(s.end),
            eos_token_id: s.end,
            pad_token_id: s.pad,
            ..default
        };
        config.set_dropouts(&s.dropout);
        Some(Box::new(config))
    }
}

impl Config for Gpt2Config {
    fn family(&self) -> &'static dyn Family {
        &GPT2
    }

    fn to_json(&self) -> Value {
        written(FORMAT.model_type, self)
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn positions(&self) -> usize {
        self.n_positions
    }

    fn extent(&self) -> Extent {
        Extent::transformer(self.n_layer, self.n_embd, self.inner(), 3 * self.n_embd)
    }

    fn ends(&self) -> [Option<u32>; 2] {
        [self.bos_token_id, self.eos_token_id]
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
        for dropout in [&mut self.resid_pdrop, &mut self.embd_pdrop] {
            *dropout = d.hidden.unwrap_or(*dropout);
        }
        self.attn_pdrop = d.attention.unwrap_or(self.attn_pdrop);
    }

    fn build(&self, v: &Vars, head: Head) -> Result<Box<dyn Network>> {
        Ok(match head {
            Head::Layers | Head::Base => Box::new(gpt2(v, self)?),
            Head::CausalLm => Box::new(gpt2_lm(v, self)?),
            Head::Sequence => Box::new(gpt2_classifier(v, self)?),
            _ => return Err(no_head(&GPT2)),
        })
    }
}

fn defaults() -> Value {
    json!({
        "activation_function": "gelu_new",
        "add_cross_attention": false,
        "attn_pdrop": 0.1,
        "bos_token_id": null,
        "embd_pdrop": 0.1,
        "eos_token_id": null,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-5,
        "model_type": "gpt2",
        "n_embd": 768,
        "n_head": 12,
        "n_inner": null,
        "n_layer": 12,
        "n_positions": 1024,
        "pad_token_id": null,
        "reorder_and_upcast_attn": false,
        "resid_pdrop": 0.1,
        "scale_attn_by_inverse_layer_idx": false,
        "scale_attn_weights": true,
        "summary_activation": null,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": true,
        "summary_type": "cls_index",
        "summary_use_proj": true,
        "tie_word_embeddings": true,
        "use_cache": true,
        "vocab_size": 50257,
    })
}
