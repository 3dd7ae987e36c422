//! The keys of `tokenizer_config.json` and `special_tokens_map.json` that transformers 5 knows: what
//! is honoured, what changes no token, what is refused. Of a key that is none of them melos warns.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers as hf;

use super::files::{Config, ROLES, bert_normalizer, flag, named, read_json, wrong};
use super::pipeline::{self, Cut, Inner};
use crate::Result;

/// Keys that have an effect here; beside these the roles, and every further `*_token`.
const HONOURED: [&str; 15] = [
    "tokenizer_class",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "add_prefix_space",
    "split_special_tokens",
    "added_tokens_decoder",
    "additional_special_tokens",
    "extra_special_tokens",
    "model_specific_special_tokens",
    "word_tokenizer_type",
    "subword_tokenizer_type",
    "mecab_kwargs",
    // By what gives sentences vectors.
    "model_max_length",
    "max_len",
];

/// Keys that say nothing of how text becomes tokens: where files came from, how transformers is to
/// be started, how batches are cut and padded (a run file says that here), how conversations are
/// written, how tokens are joined again; and those of which transformers 5 makes nothing.
const WITHOUT_EFFECT: [&str; 62] = [
    "_commit_hash",
    "_from_auto",
    "auto_map",
    "backend",
    "bos_token_id",
    "chat_control_tokens",
    "chat_template",
    "clean_text",
    "clean_up_tokenization_spaces",
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
    "cls_token_id",
    "device_map",
    "do_basic_tokenize",
    "eos_token_id",
    "errors",
    "files_loaded",
    "fix_mistral_regex",
    "from_slow",
    "full_tokenizer_file",
    "init_inputs",
    "is_local",
    "jumanpp_kwargs",
    "legacy",
    "local_files_only",
    "mask_token_id",
    "max_length",
    "merges_file",
    "model_input_names",
    "model_type",
    "name_or_path",
    "pad_to_multiple_of",
    "pad_token_id",
    "pad_token_type_id",
    "padding",
    "padding_side",
    "processor_class",
    "response_schema",
    "response_template",
    "revision",
    "sep_token_id",
    "sp_model_kwargs",
    "special_tokens_map_file",
    "special_tokens_pattern",
    "stride",
    "subfolder",
    "sudachi_kwargs",
    "token_type_ids_include_special_tokens",
    "token_type_ids_pattern",
    "tokenizer_file",
    "transformers_version",
    "trim_offsets",
    "truncation",
    "truncation_side",
    "truncation_strategy",
    "trust_remote_code",
    "unk_token_id",
    "use_default_system_prompt",
    "use_fast",
    "verbose",
    "vocab_file",
    "vocab_size",
    "wordpieces_prefix",
];

/// A key, what its value may be, and the same in words.
type Only = (&'static str, fn(&Value) -> bool, &'static str);

/// Keys of `BertJapaneseTokenizer` of which only one value can be honoured; other classes make nothing
/// of them.
const JAPANESE: [Only; 4] = [
    ("do_word_tokenize", |v| *v == true, "true"),
    ("do_subword_tokenize", |v| *v == true, "true"),
    ("never_split", |v| *v == json!([]), "an empty list"),
    ("spm_file", |_| false, "its absence"),
];

/// Warns of what nobody knows.
pub(super) fn check(config: &Config, path: &Path) {
    for key in config.keys() {
        let known = HONOURED.contains(&&**key)
            || WITHOUT_EFFECT.contains(&&**key)
            || JAPANESE.iter().any(|(japanese, ..)| japanese == key)
            || key.ends_with("_token");
        if !known {
            log::warn!(
                "'{}': '{key}' is no setting that melos knows; it is passed over",
                path.display()
            );
        }
    }
}

/// Refuses what cannot be honoured of Japanese. Nulls are not there any more.
pub(super) fn check_japanese(config: &Config, path: &Path) -> Result<()> {
    for (key, may, expected) in JAPANESE {
        if let Some(value) = config.get(key).filter(|value| !may(value)) {
            let message = format!("{key} {value} is not supported, only {expected}");
            return Err(wrong(path, message));
        }
    }
    Ok(())
}

/// Refuses tokens around texts where no `tokenizer.json` says what they are.
pub(super) fn check_frame(config: &Config, path: &Path) -> Result<()> {
    let mut frame = ["add_bos_token", "add_eos_token"].into_iter();
    match frame.find(|key| flag(config, key, false)) {
        None => Ok(()),
        Some(key) => {
            let message = format!(
                "{key} true is supported only with a tokenizer.json, which transformers writes \
                 (AutoTokenizer.from_pretrained(…).save_pretrained(…))"
            );
            Err(wrong(path, message))
        }
    }
}

/// The class that reads the folder: the one named or, without one, that of the model.
fn class(folder: &Path, config: &Config) -> Option<String> {
    if let Some(class) = config.get("tokenizer_class").and_then(Value::as_str) {
        return Some(class.trim_end_matches("Fast").to_owned());
    }
    // A damaged config.json is for those to say who need it.
    let model = read_json(&folder.join("config.json")).ok()??;
    let class = match model.get("model_type")?.as_str()? {
        "bert" => "BertTokenizer",
        "distilbert" => "DistilBertTokenizer",
        "gpt2" => "GPT2Tokenizer",
        "roberta" => "RobertaTokenizer",
        "xlm-roberta" => "XLMRobertaTokenizer",
        _ => return None,
    };
    Some(class.to_owned())
}

/// What the configuration says against `tokenizer.json`: the classes of transformers take the
/// vocabulary and the added tokens from that, and all else from the configuration or their defaults.
pub(super) fn overrule(inner: &mut Inner, folder: &Path, config: &Config) -> Result<()> {
    let path = folder.join(super::files::CONFIG);
    let wordpiece = matches!(inner.get_model(), hf::ModelWrapper::WordPiece(_));
    match class(folder, config).as_deref() {
        Some("BertTokenizer" | "DistilBertTokenizer") if wordpiece => {
            let wanted = hf::NormalizerWrapper::from(bert_normalizer(config));
            if json!(inner.get_normalizer()) != json!(Some(&wanted)) {
                log::warn!(
                    "'{}' has the last word on capital letters, accents and Chinese characters, \
                     as in transformers; tokenizer.json beside it says otherwise",
                    path.display()
                );
                pipeline::wordpiece(inner, bert_normalizer(config));
                // They are looked for in normalised text.
                inner.add_tokens(&[]);
            }
        }
        Some("GPT2Tokenizer" | "RobertaTokenizer") => {
            let wanted = flag(config, "add_prefix_space", false);
            if let Some(Cut::Library(hf::PreTokenizerWrapper::ByteLevel(way))) =
                inner.get_pre_tokenizer()
                && way.add_prefix_space != wanted
            {
                let way = way.add_prefix_space(wanted);
                inner.with_pre_tokenizer(Some(way));
            }
        }
        Some("XLMRobertaTokenizer") if !flag(config, "add_prefix_space", true) => {
            let message = "add_prefix_space false is not supported for XLM-R, only true";
            return Err(wrong(&path, message));
        }
        _ => {}
    }
    Ok(())
}

/// Whether Japanese is to be normalised before MeCab cuts it. Refuses every other dictionary.
pub(super) fn check_mecab(config: &Config, path: &Path) -> Result<bool> {
    let mut normalizes = true;
    let options = config.get("mecab_kwargs").and_then(Value::as_object);
    if options.is_none_or(|options| !options.contains_key("mecab_dic")) {
        log::warn!(
            "'{}' names no mecab_dic; melos takes ipadic, as transformers did before version 5",
            path.display()
        );
    }
    for (key, value) in options.into_iter().flatten() {
        match (&**key, value) {
            ("normalize_text", Value::Bool(value)) => normalizes = *value,
            ("mecab_dic", Value::String(name)) if name == "ipadic" => {}
            ("mecab_option", Value::Null) => {}
            ("mecab_option", Value::String(options)) if options.trim().is_empty() => {}
            _ => {
                let value = value.to_string().replace('"', "'");
                let only = match &**key {
                    "mecab_dic" => "ipadic",
                    "normalize_text" => "true or false",
                    _ => "mecab_dic and normalize_text",
                };
                let message = format!("{key} {value} is not supported, only {only}");
                return Err(wrong(path, message));
            }
        }
    }
    Ok(normalizes)
}

/// Lists tokens that stand in no `vocab.txt`, for a folder without `tokenizer.json`.
pub(super) fn list_added(config: &mut Config, inner: &Inner) {
    let vocabulary = inner.get_vocab(false);
    let added = inner.get_added_tokens_decoder();
    if added
        .values()
        .all(|token| vocabulary.contains_key(&token.content))
    {
        return;
    }
    let mut added: Vec<_> = added.into_iter().collect();
    added.sort_unstable_by_key(|(id, _)| *id);
    let token = |token: hf::AddedToken| {
        json!({
            "content": token.content, "lstrip": token.lstrip, "normalized": token.normalized,
            "rstrip": token.rstrip, "single_word": token.single_word, "special": token.special,
        })
    };
    let added = added.into_iter().map(|(id, t)| (id.to_string(), token(t)));
    config.insert(
        "added_tokens_decoder".into(),
        Value::Object(added.collect()),
    );
}

/// The contents of all special tokens.
pub(super) fn special_tokens(config: &Config, path: &Path) -> Result<BTreeSet<String>> {
    let roles = ROLES.iter().filter_map(|(role, _)| named(config, role));
    let further = further_tokens(config, path)?.into_iter();
    Ok(roles
        .map(str::to_owned)
        .chain(further.map(|token| token.content))
        .collect())
}

/// A token that is a string, or an object with its content and flags.
pub(super) fn token(value: &Value) -> Option<hf::AddedToken> {
    let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
    let is = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
    let token = hf::AddedToken::from(content, true);
    Some(
        token
            .lstrip(is("lstrip"))
            .rstrip(is("rstrip"))
            .single_word(is("single_word"))
            .normalized(is("normalized")),
    )
}

/// The special tokens beside the roles, in the order in which transformers gives them ids.
///
/// # Errors
/// [`crate::Error::Tokenizer`] for one that is none.
pub(super) fn further_tokens(config: &Config, path: &Path) -> Result<Vec<hf::AddedToken>> {
    let is_role = |key: &str| ROLES.iter().any(|(role, _)| *role == key);
    let own = config.iter().filter(|(key, value)| {
        key.ends_with("_token") && !is_role(key) && (value.is_string() || value.is_object())
    });
    let own: Vec<&Value> = own.map(|(_, value)| value).collect();
    let mut tokens: Vec<hf::AddedToken> = Vec::new();
    let mut add = |key: &str, value: &Value| match token(value) {
        Some(token) => {
            if !token.content.is_empty() && !tokens.iter().any(|t| t.content == token.content) {
                tokens.push(token);
            }
            Ok(())
        }
        None => Err(wrong(path, format!("{key}: {value} is no token"))),
    };
    own.into_iter()
        .try_for_each(|value| add("a token", value))?;
    for key in [
        "model_specific_special_tokens",
        "extra_special_tokens",
        "additional_special_tokens",
    ] {
        match config.get(key) {
            Some(Value::Array(list)) => list.iter().try_for_each(|value| add(key, value))?,
            Some(Value::Object(map)) => map.values().try_for_each(|value| add(key, value))?,
            Some(other) => return Err(wrong(path, format!("{key}: {other} is no list of tokens"))),
            None => {}
        }
    }
    Ok(tokens)
}

impl super::Tokenizer {
    /// What its settings, `tokenizer_config.json`, say under a key.
    pub(in crate::text) fn setting(&self, key: &str) -> Option<&Value> {
        self.config.get(key)
    }
}
