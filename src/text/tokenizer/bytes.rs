//! Byte pairs in a folder without `tokenizer.json`: `vocab.json` and `merges.txt`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;
use tokenizers::models::bpe::BPE;

use super::files::{
    Config, HfMap, add_tokens, added_tokens, flag, named, read_json, read_text, wrong,
};
use super::pipeline::{self, Inner};
use super::vocab;
use crate::Result;

/// The roles of byte pairs whose configuration is silent, of models that write on and of those that read
/// whole texts.
const GENERATING: [(&str, &str); 3] = [
    ("unk_token", "<|endoftext|>"),
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
];
const FRAMED: [(&str, &str); 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

/// Opens `vocab.json` and `merges.txt`.
pub(super) fn open(folder: &Path, config: &Config) -> Result<Inner> {
    let file = folder.join("vocab.json");
    let read = read_json(&file)?.map(serde_json::from_value::<HashMap<String, u32>>);
    let Some(Ok(mut vocabulary)) = read else {
        return Err(wrong(&file, "should be one JSON object of tokens and ids"));
    };
    vocab::place_added(&mut vocabulary, &added_tokens(&file, config)?);
    let file = folder.join("merges.txt");
    let mut merges = Vec::new();
    for line in read_text(&file)?.lines() {
        // The first line tells the version; a merge may begin with #.
        if line.is_empty() || (merges.is_empty() && line.starts_with("#version")) {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) => merges.push((left.to_owned(), right.to_owned())),
            None => return Err(wrong(&file, format!("'{line}' is no pair of tokens"))),
        }
    }
    let framed = frames_texts(config, &vocabulary);
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<HfMap>(), merges)
        .build()
        .map_err(|e| {
            let message = format!("does not fit vocab.json beside it ({e}); copy both anew");
            wrong(&file, message)
        })?;
    let mut inner = Inner::new(model.into());
    let add_prefix_space = flag(config, "add_prefix_space", false);
    pipeline::byte_level(&mut inner, add_prefix_space);
    let usual: &[(&str, &str)] = if framed { &FRAMED } else { &GENERATING };
    let mut config = config.clone();
    for (role, token) in usual {
        config.entry(*role).or_insert(json!(token));
    }
    add_tokens(&mut inner, folder, &config)?;
    if framed {
        let [cls, sep] = ["cls_token", "sep_token"].map(|role| named(&config, role));
        pipeline::double_frame(
            &mut inner,
            cls.unwrap_or_default(),
            sep.unwrap_or_default(),
            add_prefix_space,
        );
    }
    Ok(inner)
}

/// Whether byte pairs are those of a model that reads whole texts, `<s> a </s></s> b </s>`: the
/// vocabulary has both tokens, and a configuration that names any token names them.
fn frames_texts(config: &Config, vocabulary: &HashMap<String, u32>) -> bool {
    let told = FRAMED.iter().any(|(role, _)| named(config, role).is_some());
    let frames = |(role, usual): &(&str, &str)| {
        let token = named(config, role).or((!told).then_some(*usual));
        token.is_some_and(|token| vocabulary.contains_key(token))
    };
    let mut around = FRAMED.iter();
    around.all(|pair| !matches!(pair.0, "cls_token" | "sep_token") || frames(pair))
}
