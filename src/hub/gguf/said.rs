//! A tokeniser's files as the metadata of a GGUF file.

use std::collections::HashMap;

use serde_json::Value;

use super::pre::Pre;
use super::tokenizer::{
    ADD_BOS, ADD_EOS, ADD_SPACE, KINDS, MERGES, MODEL, PRE, ROLES, SCORES, TEMPLATE, TOKENS, kind,
};
use super::write::Meta;
use crate::bounded;

/// The metadata of a tokeniser whose files these are, for a model with so many rows of word vectors.
///
/// # Errors
/// Why readers would cut texts otherwise.
pub(super) fn tokenizer(
    files: &[(String, Vec<u8>)],
    rows: usize,
) -> Result<Vec<(String, Meta)>, String> {
    let json = file(files, "tokenizer.json")?
        .ok_or("it has no tokenizer.json, without which no reader opens such a file")?;
    let config = file(files, "tokenizer_config.json")?.unwrap_or_default();
    let mut all = Tokenizer::new(&json, rows)?;
    let pieces = json["model"]["byte_fallback"] == true;
    if let Some(unknown) = named(&config, "unk_token").filter(|_| pieces)
        && let Some(id) = all.ids.get(unknown)
    {
        all.kinds[*id] = kind::UNKNOWN;
    }
    let mut metadata = match pieces {
        true => all.sentence_pieces()?,
        false => all.byte_level()?,
    };
    metadata.push((TOKENS.into(), Meta::Texts(all.tokens.clone())));
    metadata.push((KINDS.into(), Meta::Wholes(all.kinds.clone())));
    for (role, key) in ROLES {
        if let Some(token) = named(&config, role) {
            let id = all.ids.get(token);
            let id = id.ok_or_else(|| format!("its {role} '{token}' is no token"))?;
            metadata.push((key.into(), Meta::Whole(*id as u32)));
        }
    }
    let [begin, end] = all.frame()?;
    for (key, role, found) in [(ADD_BOS, "bos_token", begin), (ADD_EOS, "eos_token", end)] {
        if found.is_some() && found != named(&config, role) {
            let found = found.unwrap_or_default();
            return Err(format!(
                "it puts '{found}' around texts, which is not its {role}"
            ));
        }
        metadata.push((key.into(), Meta::Flag(found.is_some())));
    }
    let template = config["chat_template"].as_str().map(str::to_string);
    let template = match (
        template,
        files.iter().find(|(name, _)| name == "chat_template.jinja"),
    ) {
        (None, Some((_, text))) => Some(String::from_utf8_lossy(text).into_owned()),
        (template, _) => template,
    };
    if let Some(template) = template {
        metadata.push((TEMPLATE.into(), Meta::Text(template)));
    }
    Ok(metadata)
}

fn file(files: &[(String, Vec<u8>)], name: &str) -> Result<Option<Value>, String> {
    let found = files.iter().find(|(found, _)| found == name);
    let read = found.map(|(_, bytes)| bounded::json(bytes));
    read.transpose()
        .map_err(|e| format!("its {name} is not JSON ({e})"))
}

/// The token of a role.
fn named<'a>(config: &'a Value, role: &str) -> Option<&'a str> {
    let value = &config[role];
    value.as_str().or_else(|| value["content"].as_str())
}

/// A `tokenizer.json`.
struct Tokenizer<'a> {
    json: &'a Value,
    tokens: Vec<String>,
    kinds: Vec<i32>,
    ids: HashMap<&'a str, usize>,
    merges: Vec<[&'a str; 2]>,
}

impl<'a> Tokenizer<'a> {
    fn new(json: &'a Value, rows: usize) -> Result<Tokenizer<'a>, String> {
        let model = &json["model"];
        if model["type"] != "BPE" {
            let kind = model["type"].as_str().unwrap_or("unknown");
            return Err(format!(
                "its tokeniser is a {kind}; byte pairs are written, nothing else"
            ));
        }
        let none = |key: &str| matches!(&model[key], Value::Null) || model[key] == "";
        if !none("dropout") || !none("continuing_subword_prefix") || !none("end_of_word_suffix") {
            return Err("its byte pairs have a dropout, prefix or suffix".into());
        }
        let vocabulary = model["vocab"].as_object().into_iter().flatten();
        // Rows without a token have one that nothing is cut into.
        let unused = |id: usize| format!("[PAD{id}]");
        let mut tokens: Vec<String> = (0..rows).map(unused).collect();
        let mut kinds = vec![kind::UNUSED; rows];
        let mut ids = HashMap::new();
        let mut place = |token: &'a str, id: &Value, of: i32| {
            let id = id.as_u64().map_or(usize::MAX, |id| id as usize);
            let Some(place) = tokens.get_mut(id) else {
                return Err(format!(
                    "its token '{token}' has no row among the {rows} of the model"
                ));
            };
            *place = token.to_string();
            kinds[id] = of;
            ids.insert(token, id);
            Ok(())
        };
        for (token, id) in vocabulary {
            let byte = token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
            let fallback = model["byte_fallback"] == true;
            let of = match id.as_u64() {
                _ if byte && fallback => kind::BYTE,
                Some(id) if *token == unused(id as usize) => kind::UNUSED,
                _ => kind::NORMAL,
            };
            place(token, id, of)?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let token = added["content"].as_str().unwrap_or_default();
            let flag = |name: &str| added[name] == true;
            if flag("lstrip") || flag("rstrip") || flag("single_word") {
                return Err(format!(
                    "its token '{token}' takes spaces around it, or whole words alone"
                ));
            }
            let of = if flag("special") {
                kind::CONTROL
            } else {
                kind::USER
            };
            place(token, &added["id"], of)?;
        }
        let merges = model["merges"].as_array().into_iter().flatten();
        let pair = |merge: &'a Value| match merge {
            Value::Array(pair) => match &pair[..] {
                [Value::String(left), Value::String(right)] => Some([&left[..], &right[..]]),
                _ => None,
            },
            merge => merge
                .as_str()?
                .split_once(' ')
                .map(|(left, right)| [left, right]),
        };
        let merges: Option<Vec<[&str; 2]>> = merges.map(pair).collect();
        Ok(Tokenizer {
            json,
            tokens,
            kinds,
            ids,
            merges: merges.ok_or("its merges are no pairs")?,
        })
    }

    fn byte_level(&self) -> Result<Vec<(String, Meta)>, String> {
        let ignore_merges = self.json["model"]["ignore_merges"] == true;
        let pre = Pre::of(&self.json["pre_tokenizer"], ignore_merges);
        let pre = pre.ok_or("it cuts texts in words in a way that has no name in GGUF")?;
        // Converters leave out NFC, which changes nothing in text as it is usually written.
        let normalizer = &self.json["normalizer"];
        if !normalizer.is_null() && normalizer["type"] != "NFC" {
            return Err("it changes texts before it cuts them".into());
        }
        let merges = self.merges.iter().map(|pair| pair.join(" ")).collect();
        Ok(vec![
            (MODEL.into(), Meta::Text("gpt2".into())),
            (PRE.into(), Meta::Text(pre.names[0].into())),
            (MERGES.into(), Meta::Texts(merges)),
        ])
    }

    /// Scores that lead to the same merges, where there are some.
    fn sentence_pieces(&self) -> Result<Vec<(String, Meta)>, String> {
        let prefixed = self
            .spaces()
            .ok_or("it treats spaces in a way that has no name in GGUF")?;
        // The better of two tokens is merged first; what is never merged has no score.
        let mut scores = vec![0.0f32; self.tokens.len()];
        let mut ways: HashMap<String, usize> = HashMap::new();
        let mut last: Option<String> = None;
        let mut rank = 0.0;
        for pair in &self.merges {
            let token = pair.concat();
            if last.as_ref() != Some(&token) {
                if ways.contains_key(&token) {
                    return Err("its merges follow no scores of tokens, which readers go by".into());
                }
                rank -= 1.0;
                let id = self
                    .ids
                    .get(&token[..])
                    .ok_or("its merges lead to no tokens")?;
                scores[*id] = rank;
                last = Some(token.clone());
            }
            *ways.entry(token).or_default() += 1;
        }
        // Readers try every way to put a token together.
        for (token, count) in &ways {
            let starts = token.char_indices().map(|(at, _)| at).skip(1);
            let all = starts.filter(|at| {
                let (left, right) = token.split_at(*at);
                self.ids.contains_key(left) && self.ids.contains_key(right)
            });
            if all.count() != *count {
                return Err(format!(
                    "it puts '{token}' together in fewer ways than readers would"
                ));
            }
        }
        Ok(vec![
            (MODEL.into(), Meta::Text("llama".into())),
            (PRE.into(), Meta::Text("default".into())),
            (SCORES.into(), Meta::Reals(scores)),
            (ADD_SPACE.into(), Meta::Flag(prefixed)),
        ])
    }

    /// Whether a space is put before texts; `None` for any other way.
    fn spaces(&self) -> Option<bool> {
        let (normalizer, pre) = (&self.json["normalizer"], &self.json["pre_tokenizer"]);
        let replaces = |n: &Value| {
            n["type"] == "Replace" && n["pattern"]["String"] == " " && n["content"] == "▁"
        };
        let prepends = |n: &Value| n["type"] == "Prepend" && n["prepend"] == "▁";
        let none = pre.is_null() || pre["type"] == "Split" && pre["pattern"]["String"] == " ";
        let steps = normalizer["normalizers"].as_array();
        match steps.map(Vec::as_slice) {
            Some([first, second]) if prepends(first) && replaces(second) && none => Some(true),
            None if replaces(normalizer) && none => Some(false),
            None if normalizer.is_null() && pre["type"] == "Metaspace" => {
                match pre["prepend_scheme"].as_str() {
                    Some("first" | "always") if pre["split"] != true => Some(true),
                    Some("never") if pre["split"] != true => Some(false),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// What is put before and behind a text.
    fn frame(&self) -> Result<[Option<&'a str>; 2], String> {
        const OTHER: &str = "it puts something around texts that has no name in GGUF";
        let processor = &self.json["post_processor"];
        let template = match processor["type"].as_str() {
            None | Some("ByteLevel") => return Ok([None; 2]),
            Some("TemplateProcessing") => processor,
            Some("Sequence") => {
                let parts = processor["processors"].as_array();
                let mut parts = parts
                    .into_iter()
                    .flatten()
                    .filter(|p| p["type"] != "ByteLevel");
                match (parts.next(), parts.next()) {
                    (None, _) => return Ok([None; 2]),
                    (Some(one), None) if one["type"] == "TemplateProcessing" => one,
                    _ => return Err(OTHER.into()),
                }
            }
            Some(_) => return Err(OTHER.into()),
        };
        let parts = template["single"].as_array().ok_or(OTHER)?;
        let special = |part: &'a Value| part["SpecialToken"]["id"].as_str();
        let is_text = |part: &Value| part["Sequence"].is_object();
        match &parts[..] {
            [text] if is_text(text) => Ok([None; 2]),
            [a, text] if is_text(text) => Ok([special(a), None]),
            [text, b] if is_text(text) => Ok([None, special(b)]),
            [a, text, b] if is_text(text) => Ok([special(a), special(b)]),
            _ => Err(OTHER.into()),
        }
    }
}
