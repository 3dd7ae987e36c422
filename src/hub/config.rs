//! `config.json` and `generation_config.json` as transformers writes them.

use serde_json::{Map, Value, json};

use super::array::FloatType;
use super::format::Architecture;

/// Completes a configuration: every key that transformers writes for the class, `model_type`,
/// `architectures`, `dtype`, the ids of the special tokens (null where there are none). What is
/// there stays, keys that only others know among it; keys come sorted.
pub fn complete(config: &Value, architecture: Architecture, dtype: FloatType) -> Value {
    let mut keys = config.as_object().cloned().unwrap_or_default();
    if let Value::Object(defaults) = (architecture.format.defaults)() {
        for (key, value) in defaults {
            keys.entry(key).or_insert(value);
        }
    }
    // Where somebody downloaded it, and the older name of dtype.
    keys.remove("_name_or_path");
    keys.remove("torch_dtype");
    keys.insert("architectures".into(), json!([architecture.name()]));
    keys.insert("dtype".into(), dtype.torch_name().into());
    if architecture.head().is_tied() && keys.get("tie_word_embeddings") != Some(&json!(false)) {
        // Copies are not written, so that readers must make them.
        keys.insert("tie_word_embeddings".into(), true.into());
    }
    sorted(&Value::Object(keys))
}

/// Drops what says that bitsandbytes has quantised a model: how its files lie, and not what it is.
pub fn without_quantisation(config: &mut Value) {
    if config["quantization_config"]["quant_method"] == "bitsandbytes"
        && let Some(keys) = config.as_object_mut()
    {
        keys.remove("quantization_config");
    }
}

/// The labels of a classifier, as `id2label` and `label2id`; of what, is not known.
pub fn set_labels(config: &mut Value, labels: &[String]) {
    if let Some(keys) = config.as_object_mut() {
        let ids = labels.iter().enumerate();
        let by_id: Map<_, _> = (ids.clone().map(|(n, l)| (n.to_string(), json!(l)))).collect();
        let by_label: Map<_, _> = ids.map(|(n, l)| (l.clone(), json!(n))).collect();
        keys.insert("id2label".into(), by_id.into());
        keys.insert("label2id".into(), by_label.into());
        keys.remove("num_labels");
        keys.remove("text_pairs");
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
