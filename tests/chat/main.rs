//! Conversations: forms of files, chat templates and what is learned, against transformers.

#[path = "../common/mod.rs"]
mod common;
mod forms;
mod formulas;
mod learned;
mod loss;
mod preference_runs;
mod preferences;
mod preview;
mod sampling;
mod talk;
mod templates;

use std::fs;
use std::path::{Path, PathBuf};

use melos::text::Tokenizer;
use melos::text::chat::{Message, Template};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What transformers makes of conversations: `tools/make_chat_fixtures.py`.
fn fixture() -> Value {
    let text = fs::read_to_string(folder().join("templates.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat")
}

/// A folder with the tokeniser, and these settings beside it.
fn tokenizer_with(config: &Value) -> (TempDir, Tokenizer) {
    let own = tempfile::tempdir().unwrap();
    fs::copy(
        folder().join("tokenizer.json"),
        own.path().join("tokenizer.json"),
    )
    .unwrap();
    fs::write(own.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let tokenizer = Tokenizer::open(own.path()).unwrap();
    (own, tokenizer)
}

/// A folder with a model's tokeniser and its template of the fixture.
fn model(name: &str) -> (TempDir, Tokenizer) {
    let template = &fixture()["templates"][name];
    tokenizer_with(&json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": template["bos"],
        "eos_token": template["eos"],
        "chat_template": template["text"],
    }))
}

fn template_of(folder: &Path, tokenizer: &Tokenizer) -> Template {
    let found = Template::of_folder(folder, tokenizer).unwrap();
    found.expect("a template")
}

fn messages(conversation: &Value) -> Vec<Message> {
    serde_json::from_value(conversation["messages"].clone()).unwrap()
}
