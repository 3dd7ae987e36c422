//! `config.json` and `generation_config.json` as transformers writes them.

use serde_json::{Map, Value, json};

use super::array::FloatType;
use super::layout::Architecture;
use super::names::Family;

/// Completes a configuration: every key that transformers writes for the class, `model_type`,
/// `architectures`, `dtype`, the ids of the special tokens (null where there are none). What is
/// there stays, keys that only others know among it; keys come sorted.
pub fn complete(config: &Value, architecture: Architecture, dtype: FloatType) -> Value {
    let mut keys = config.as_object().cloned().unwrap_or_default();
    if let Value::Object(defaults) = defaults(architecture.family()) {
        for (key, value) in defaults {
            keys.entry(key).or_insert(value);
        }
    }
    // Where somebody downloaded it, and the older name of dtype.
    keys.remove("_name_or_path");
    keys.remove("torch_dtype");
    keys.insert("architectures".into(), json!([architecture.name()]));
    keys.insert("dtype".into(), dtype.torch_name().into());
    if architecture.is_tied() {
        // Copies are not written, so that readers must make them.
        keys.insert("tie_word_embeddings".into(), true.into());
    }
    sorted(&Value::Object(keys))
}

/// The labels of a classifier, as `id2label` and `label2id`.
pub fn set_labels(config: &mut Value, labels: &[String]) {
    if let Some(keys) = config.as_object_mut() {
        let ids = labels.iter().enumerate();
        let by_id: Map<_, _> = (ids.clone().map(|(n, l)| (n.to_string(), json!(l)))).collect();
        let by_label: Map<_, _> = ids.map(|(n, l)| (l.clone(), json!(n))).collect();
        keys.insert("id2label".into(), by_id.into());
        keys.insert("label2id".into(), by_label.into());
        keys.remove("num_labels");
    }
}

/// `generation_config.json` for a model that generates; `config` is complete.
pub fn generation(config: &Value) -> Value {
    let mut keys = Map::new();
    keys.insert("_from_model_config".into(), true.into());
    for id in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if !config[id].is_null() {
            keys.insert(id.into(), config[id].clone());
        }
    }
    for (key, value) in [
        ("output_attentions", false),
        ("output_hidden_states", false),
        ("use_cache", true),
    ] {
        keys.insert(key.into(), value.into());
    }
    if !config["transformers_version"].is_null() {
        let version = config["transformers_version"].clone();
        keys.insert("transformers_version".into(), version);
    }
    sorted(&Value::Object(keys))
}

/// Indented by two with a newline at the end, as Python's `json.dumps(indent=2)`.
pub fn text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// Objects with their keys in order, at every depth.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            // Numbers as numbers: transformers has the ids of `id2label` so.
            entries.sort_by(
                |(a, _), (b, _)| match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    _ => a.cmp(b),
                },
            );
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// What transformers 5.23 writes for a default configuration.
fn defaults(family: Family) -> Value {
    match family {
        Family::Bert => json!({
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
        }),
        Family::Gpt2 => json!({
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
        }),
        Family::Other => json!({}),
    }
}
