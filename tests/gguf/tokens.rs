//! Tokenisers of GGUF files against llama.cpp's ids.

use melos::models::tokenizer_of;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Made, fixture, flag, json, said, tiny};

fn ids(value: &Value) -> Vec<u32> {
    let all = value.as_array().unwrap().iter();
    all.map(|id| id.as_u64().unwrap() as u32).collect()
}

fn holds(path: &std::path::Path, expected: &Value, what: &str) {
    let tokenizer = tokenizer_of(path, None).unwrap();
    let texts = json("tokens.json")["texts"].as_array().unwrap().clone();
    for (text, expected) in texts.iter().zip(expected.as_array().unwrap()) {
        let text = text.as_str().unwrap();
        assert_eq!(
            tokenizer.encode(text).unwrap(),
            ids(expected),
            "{what}: {text:?}"
        );
    }
}

#[test]
fn byte_pairs_are_cut_as_the_file_says() {
    let expected = json("tokens.json");
    holds(
        &fixture("gpt2.gguf"),
        &expected["pre"]["gpt-2"],
        "gpt2.gguf",
    );
    let folder = TempDir::new().unwrap();
    let ways = expected["pre"].as_object().unwrap();
    for (pre, expected) in ways {
        let made = tiny().key("tokenizer.ggml.pre", said(pre));
        holds(&made.write(&folder), expected, pre);
    }
    // They are not all the same.
    let mut all: Vec<&Value> = ways.values().collect();
    all.dedup();
    assert!(all.len() > 6, "{}", all.len());
}

#[test]
fn pieces_with_scores_are_merged_as_sentencepiece_does() {
    let path = fixture("llama.gguf");
    holds(&path, &json("tokens.json")["llama"], "llama.gguf");
    let tokenizer = tokenizer_of(&path, None).unwrap();
    for text in ["the thing and water", "走れメロス 🏃", "a\n b  c"] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn roles_frames_and_templates_are_handed_on() {
    let roles = |path: &std::path::Path| {
        let tokenizer = tokenizer_of(path, None).unwrap();
        let framed = tokenizer.encoding("a", None, true).unwrap().ids;
        let bare = tokenizer.encode("a").unwrap();
        (tokenizer.vocabulary().roles(), framed, bare)
    };
    // SentencePiece's begin with BOS where nothing is said.
    let (found, framed, bare) = roles(&fixture("llama.gguf"));
    assert_eq!(
        (found.bos, found.eos, found.unk, found.pad),
        (Some(1), Some(2), Some(0), None)
    );
    assert_eq!(framed, [vec![1], bare].concat());
    let folder = TempDir::new().unwrap();
    let key = "tokenizer.ggml.bos_token_id";
    let made = tiny().key(key, crate::support::whole(281));
    let (found, framed, bare) = roles(&made.write(&folder));
    assert_eq!((found.bos, found.eos), (Some(281), None));
    assert_eq!(framed, bare);
    for (key, value) in [
        ("tokenizer.ggml.add_bos_token", flag(true)),
        // Llama 3's begin with it.
        ("tokenizer.ggml.pre", said("llama-bpe")),
    ] {
        let (_, framed, bare) = roles(&made.clone().key(key, value).write(&folder));
        assert_eq!(framed, [vec![281], bare].concat(), "{key}");
    }
    let template = "{{ messages }}";
    let made = made.key("tokenizer.chat_template", said(template));
    let files = melos::models::open(&made.write(&folder))
        .unwrap()
        .companions()
        .unwrap();
    let config = files
        .iter()
        .find(|(name, _)| name == "tokenizer_config.json")
        .unwrap();
    let config: Value = serde_json::from_slice(&config.1).unwrap();
    assert_eq!(config["chat_template"], template);
    assert_eq!(config["bos_token"], "<|end|>");
}

#[test]
fn a_tokeniser_that_is_not_read_is_refused_by_its_name() {
    let folder = TempDir::new().unwrap();
    let refused = |made: Made, words: &[&str]| {
        let error = tokenizer_of(&made.write(&folder), None)
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(error.contains(word), "'{word}' is not in: {error}");
        }
    };
    let model = |name: &str| tiny().key("tokenizer.ggml.model", said(name));
    refused(model("bert"), &["a.gguf", "'bert'", "gpt2 and llama"]);
    let pre = tiny().key("tokenizer.ggml.pre", said("tiny-aya"));
    refused(pre, &["'tiny-aya'", "tokenizer.ggml.pre", "llama-bpe"]);
    refused(
        tiny().without("tokenizer.ggml.tokens"),
        &["no 'tokenizer.ggml.tokens'"],
    );
    refused(
        tiny().without("tokenizer.ggml.merges"),
        &["no 'tokenizer.ggml.merges'"],
    );
    refused(
        tiny().without("tokenizer.ggml.model"),
        &["has no tokeniser"],
    );
    refused(model("llama"), &["no 'tokenizer.ggml.scores'"]);
    let kinds = crate::support::list(5, 1, &1i32.to_le_bytes());
    refused(
        tiny().key("tokenizer.ggml.token_type", kinds),
        &["1 kinds of tokens for 288"],
    );
    let far = crate::support::whole(9999);
    refused(
        tiny().key("tokenizer.ggml.eos_token_id", far),
        &["eos_token_id' is 9999", "288 tokens"],
    );
    let merges = crate::support::texts(&["ab"]);
    refused(
        tiny().key("tokenizer.ggml.merges", merges),
        &["no pair of tokens"],
    );
}
