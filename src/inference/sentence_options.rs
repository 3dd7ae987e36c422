//! How the tokens of a text become one vector: what a folder of sentence-transformers says.
//!
//! ```text
//! modules.json                      the parts in their order
//! sentence_bert_config.json         of the Transformer: how long a text may be
//! 1_Pooling/config.json             of the Pooling
//! config_sentence_transformers.json what is put before every text
//! tokenizer_config.json             how long a text may be, where nothing else says it
//! ```

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value};

use crate::bounded;
use crate::error::{Error, Result};
use crate::hub::SENTENCE_LIMITS;
pub use crate::models::Pooling;

/// How tokens become a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceOptions {
    /// The first token's vector, or the mean.
    pub pooling: Pooling,
    /// Whether every vector has length 1.
    pub normalised: bool,
    /// Longest text in tokens, special ones included; the rest is cut off.
    pub max_len: usize,
    /// What is put before every text.
    pub prompt: String,
    /// Whether texts are put in small letters, whatever the tokeniser does.
    pub lowercase: bool,
}

/// A file of settings: of every key the values that melos can honour.
type Settings = [(&'static str, fn(&Value) -> bool)];

fn any(_: &Value) -> bool {
    true
}

fn empty(value: &Value) -> bool {
    value.as_object().is_some_and(|map| {
        let nothing = |v: &Value| v.is_null() || v.as_object().is_some_and(Map::is_empty);
        map.values().all(nothing)
    })
}

/// Text is what the model reads, and the vectors of its last layer what is pooled.
fn reads_text(value: &Value) -> bool {
    let text = &value["text"];
    let is = |key: &str, usual: &str| text[key].is_null() || text[key] == usual;
    is("method", "forward") && is("method_output_name", "last_hidden_state")
}

/// Of `sentence_bert_config.json`.
const TRANSFORMER: &Settings = &[
    ("max_seq_length", any),
    ("do_lower_case", Value::is_boolean),
    ("transformer_task", |v| *v == "feature-extraction"),
    ("module_output_name", |v| *v == "token_embeddings"),
    ("modality_config", reads_text),
    ("processing_kwargs", empty),
    ("model_args", empty),
    ("model_kwargs", empty),
    ("tokenizer_args", empty),
    ("processor_kwargs", empty),
    ("config_args", empty),
    ("config_kwargs", empty),
    ("query_expansion", Value::is_null),
    ("tokenizer_name_or_path", Value::is_null),
    // How batches are laid out; and limits of tasks of their own, which `encode` does not know.
    ("unpad_inputs", any),
    ("query_length", any),
    ("document_length", any),
];

/// Of the pooling's `config.json`.
const POOLING: &Settings = &[
    ("embedding_dimension", any),
    ("word_embedding_dimension", any),
    ("pooling_mode", any),
    ("pooling_mode_cls_token", any),
    ("pooling_mode_mean_tokens", any),
    ("pooling_mode_max_tokens", any),
    ("pooling_mode_mean_sqrt_len_tokens", any),
    ("pooling_mode_weightedmean_tokens", any),
    ("pooling_mode_lasttoken", any),
    ("include_prompt", any),
];

/// Of `config_sentence_transformers.json`.
const MODEL: &Settings = &[
    ("model_type", |v| *v == "SentenceTransformer"),
    ("prompts", any),
    ("default_prompt_name", any),
    // What wrote it, and how vectors are compared.
    ("__version__", any),
    ("similarity_fn_name", any),
];

impl SentenceOptions {
    /// What a folder of sentence-transformers says; without its files the mean, not normalised, over
    /// as many tokens as the model has positions and the tokeniser allows.
    ///
    /// # Errors
    /// [`Error::Folder`] for files that are damaged or ask for something else.
    pub fn read(folder: &Path, positions: usize) -> Result<SentenceOptions> {
        let limits = settings(&folder.join(SENTENCE_LIMITS), TRANSFORMER)?;
        let tokenizer = json(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        if tokenizer
            .get("truncation_side")
            .is_some_and(|side| side == "left")
        {
            let problem = "says truncation_side left; melos embed reads the beginning of a text";
            return Err(Error::folder(folder.join("tokenizer_config.json"), problem));
        }
        let longest = limits.get("max_seq_length").filter(|v| !v.is_null());
        let longest = longest
            .or_else(|| tokenizer.get("model_max_length"))
            .or_else(|| tokenizer.get("max_len"));
        // "As long as you like" is 10^30.
        let longest = longest.and_then(Value::as_f64).unwrap_or(f64::MAX);
        let mut options = SentenceOptions {
            pooling: Pooling::Mean,
            normalised: false,
            max_len: (longest as usize).clamp(1, positions.max(1)),
            prompt: prompt(&folder.join("config_sentence_transformers.json"))?,
            lowercase: limits.get("do_lower_case") == Some(&Value::Bool(true)),
        };
        let modules = json(&folder.join("modules.json"))?.unwrap_or_default();
        for module in modules.as_array().into_iter().flatten() {
            let kind = module["type"].as_str().unwrap_or_default();
            let kind = kind.rsplit('.').next().unwrap_or_default();
            match kind {
                "Transformer" => {}
                "Normalize" => options.normalised = true,
                "Pooling" => {
                    let path = module["path"].as_str().unwrap_or("1_Pooling");
                    let path = folder.join(path).join("config.json");
                    let config = settings(&path, POOLING)?;
                    options.pooling = pooling(&path, &config)?;
                    let includes = config.get("include_prompt") != Some(&Value::Bool(false));
                    if !includes && !options.prompt.is_empty() {
                        let problem = "leaves the prompt out of the mean, which melos cannot";
                        return Err(Error::folder(path, problem));
                    }
                }
                other => {
                    return Err(Error::Folder {
                        path: folder.join("modules.json"),
                        problem: format!(
                            "has a module '{other}'; melos knows Transformer, Pooling and Normalize"
                        ),
                    });
                }
            }
        }
        Ok(options)
    }

    /// A text as it is read.
    pub(super) fn prepared<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.prompt.is_empty() && !self.lowercase {
            return text.into();
        }
        let text = format!("{}{text}", self.prompt);
        if self.lowercase {
            text.to_lowercase().into()
        } else {
            text.into()
        }
    }
}

/// What is put before a text of which nothing else is said.
fn prompt(path: &Path) -> Result<String> {
    let config = settings(path, MODEL)?;
    let Some(name) = config.get("default_prompt_name").and_then(Value::as_str) else {
        return Ok(String::new());
    };
    let prompt = config
        .get("prompts")
        .and_then(|prompts| prompts.get(name)?.as_str());
    prompt.map(str::to_owned).ok_or_else(|| {
        let problem = format!("names the prompt '{name}', which its prompts lack");
        Error::folder(path, problem)
    })
}

fn pooling(path: &Path, config: &Map<String, Value>) -> Result<Pooling> {
    let chosen: Vec<&str> = match config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode],
        Some(Value::Array(modes)) => modes.iter().map(|m| m.as_str().unwrap_or("?")).collect(),
        Some(_) => vec!["?"],
        // Before version 6 every mode was a key.
        None => {
            let set = config.iter().filter(|(_, value)| **value == true);
            let mode = set.filter_map(|(key, _)| key.strip_prefix("pooling_mode_"));
            mode.map(|mode| mode.trim_end_matches("_token").trim_end_matches("_tokens"))
                .collect()
        }
    };
    match chosen[..] {
        ["cls"] => Ok(Pooling::Cls),
        ["mean"] | [] => Ok(Pooling::Mean),
        _ => Err(Error::Folder {
            path: path.to_path_buf(),
            problem: format!(
                "asks for the pooling {}; melos has cls or mean",
                chosen.join(" and ")
            ),
        }),
    }
}

/// The keys of a file. What melos cannot honour is refused; of a key that nobody knows it warns.
fn settings(path: &Path, known: &Settings) -> Result<Map<String, Value>> {
    let Some(Value::Object(config)) = json(path)? else {
        return Ok(Map::new());
    };
    for (key, value) in &config {
        match known.iter().find(|(name, _)| name == key) {
            Some((_, may)) if may(value) || value.is_null() => {}
            Some(_) => {
                let problem = format!("says {key} {value}, which melos cannot honour");
                return Err(Error::folder(path, problem));
            }
            None => log::warn!(
                "'{}': '{key}' is no setting that melos knows; it is passed over",
                path.display()
            ),
        }
    }
    Ok(config)
}

fn json(path: &Path) -> Result<Option<Value>> {
    let Some(text) = bounded::read_if_there(path, bounded::SETTINGS)? else {
        return Ok(None);
    };
    let value = bounded::json(&text).map_err(|e| Error::Folder {
        path: path.to_path_buf(),
        problem: format!("is not JSON: {e}; copy it again"),
    })?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options of a folder with these files.
    fn read(files: &[(&str, &str)]) -> Result<SentenceOptions> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        SentenceOptions::read(folder.path(), 64)
    }

    const MODULES: (&str, &str) = (
        "modules.json",
        r#"[{"type": "sentence_transformers.base.modules.transformer.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]"#,
    );

    #[test]
    fn poolings_of_all_versions() {
        let of = |config| read(&[MODULES, ("1_Pooling/config.json", config)]);
        for (config, expected) in [
            (
                r#"{"pooling_mode": "mean", "include_prompt": true}"#,
                Pooling::Mean,
            ),
            (
                r#"{"pooling_mode": "cls", "embedding_dimension": 8}"#,
                Pooling::Cls,
            ),
            (r#"{"pooling_mode": ["cls"]}"#, Pooling::Cls),
            (
                r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#,
                Pooling::Cls,
            ),
            (r#"{"pooling_mode_mean_tokens": true}"#, Pooling::Mean),
            (r#"{"word_embedding_dimension": 8}"#, Pooling::Mean),
            // The new key has the last word.
            (
                r#"{"pooling_mode": "cls", "pooling_mode_mean_tokens": true}"#,
                Pooling::Cls,
            ),
        ] {
            assert_eq!(of(config).unwrap().pooling, expected, "{config}");
        }
        for (config, expected) in [
            (r#"{"pooling_mode": "max"}"#, "pooling max;"),
            (
                r#"{"pooling_mode": ["cls", "mean"]}"#,
                "pooling cls and mean;",
            ),
            (r#"{"pooling_mode": 7}"#, "pooling ?;"),
            (r#"{"pooling_mode_lasttoken": true}"#, "pooling lasttoken;"),
            (r#"{"pooling_mode_max_tokens": true}"#, "pooling max;"),
        ] {
            let error = of(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{config}: {error}");
        }
    }

    #[test]
    fn the_longest_text() {
        let length = |files: &[(&str, &str)]| read(files).unwrap().max_len;
        let tokenizer = |text| ("tokenizer_config.json", text);
        let limits = |text| (SENTENCE_LIMITS, text);
        assert_eq!(length(&[]), 64);
        let any = tokenizer(r#"{"model_max_length": 1000000000000000019884624838656}"#);
        let eight = tokenizer(r#"{"model_max_length": 8}"#);
        assert_eq!(length(&[any]), 64);
        assert_eq!(length(&[eight]), 8);
        assert_eq!(length(&[tokenizer(r#"{"max_len": 9}"#)]), 9);
        assert_eq!(length(&[eight, limits(r#"{"max_seq_length": 16}"#)]), 16);
        assert_eq!(length(&[eight, limits(r#"{"max_seq_length": null}"#)]), 8);
        assert_eq!(length(&[limits(r#"{"max_seq_length": 500}"#)]), 64);
        assert!(read(&[tokenizer(r#"{"truncation_side": "left"}"#)]).is_err());
    }

    #[test]
    fn what_stands_before_a_text_and_what_is_refused() {
        const MODEL: &str = "config_sentence_transformers.json";
        let prompts = r#""prompts": {"query": "Q: ", "document": ""}"#;
        let named = |name: &str| format!("{{{prompts}, \"default_prompt_name\": {name}}}");
        let options = read(&[(MODEL, &*named("\"query\""))]).unwrap();
        assert_eq!(options.prepared("Was?"), "Q: Was?");
        assert_eq!(
            read(&[(MODEL, &*named("null"))]).unwrap().prepared("Was?"),
            "Was?"
        );
        assert!(read(&[(MODEL, &*named("\"other\""))]).is_err());
        let left_out = (
            "1_Pooling/config.json",
            r#"{"pooling_mode": "mean", "include_prompt": false}"#,
        );
        assert!(read(&[MODULES, left_out]).is_ok());
        assert!(read(&[MODULES, left_out, (MODEL, &*named("\"query\""))]).is_err());
        let lower = (SENTENCE_LIMITS, r#"{"do_lower_case": true}"#);
        assert_eq!(read(&[lower]).unwrap().prepared("ÄB"), "äb");
        // As version 6 writes it, and what else it can say.
        let task = r#"{"transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}"#;
        assert!(read(&[(SENTENCE_LIMITS, task)]).is_ok());
        for wrong in [
            r#"{"transformer_task": "fill-mask"}"#,
            r#"{"query_expansion": {"length": 32}}"#,
            r#"{"processing_kwargs": {"text": {"max_length": 9}}}"#,
            r#"{"modality_config": {"text": {"method_output_name": "pooler_output"}}}"#,
        ] {
            let error = read(&[(SENTENCE_LIMITS, wrong)]).unwrap_err().to_string();
            assert!(error.contains("cannot honour"), "{error}");
        }
        let sparse = (MODEL, r#"{"model_type": "SparseEncoder"}"#);
        assert!(read(&[sparse]).is_err());
    }
}
