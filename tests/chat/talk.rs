//! Talking to a model: what it answers is what it would write after the whole conversation, read anew.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use melos::inference::{ChatModel, Generator, Sampling};
use melos::models::Beside;
use melos::text::chat::Template;
use serde_json::json;
use tempfile::TempDir;

use super::{folder, template_of, tokenizer_with};
use crate::common;

/// Every turn is kept.
const GROWS: &str = "{% for m in messages %}{{ m.role[0] + m.content }}<|im_end|>{% endfor %}\
                     {% if add_generation_prompt %}a{% endif %}";
/// Only what was said last is, so that nothing that was read goes on.
const FORGETS: &str = "{{ messages | length }}{{ messages[-1].content }}<|im_end|>{% if add_generation_prompt %}a{% endif %}";

/// The random Llama of the fixture with this template.
pub fn llama(template: &str) -> TempDir {
    let (own, _) = tokenizer_with(&json!({"eos_token": "<|im_end|>", "chat_template": template}));
    for name in ["config.json", "model.safetensors"] {
        fs::copy(folder().join("model").join(name), own.path().join(name)).unwrap();
    }
    own
}

pub fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        temperature: 0.0,
        max_tokens,
        ..Sampling::default()
    }
}

fn wanted(
    folder: &Path,
    template: &Template,
    model: &ChatModel,
    turns: &[&str],
    sampling: &Sampling,
) {
    let generator = Generator::open(common::gpu(), folder, Beside::default()).unwrap();
    let mut chat = model.begin(128, 1).unwrap();
    chat.system("S");
    let mut written = 0;
    for turn in turns {
        let mut messages = chat.messages().to_vec();
        messages.push(melos::text::chat::message("user", *turn));
        let prompt = template.render(&messages, None, true).unwrap();
        let wanted = generator
            .generate(&prompt, sampling, &mut |_| Ok(()))
            .unwrap();
        let mut shown = String::new();
        let said = chat.say(turn, sampling, &mut |text| {
            shown.push_str(text);
            Ok(())
        });
        let said = said.unwrap();
        assert_eq!((&said, &shown), (&wanted, &wanted), "{turn}");
        written += wanted.len();
    }
    assert!(
        written > 10,
        "{written}: nothing is said that could be wrong"
    );
}

#[test]
fn answers_follow_from_the_whole_conversation_whether_or_not_it_goes_on() {
    for template in [GROWS, FORGETS] {
        let own = llama(template);
        let tokenizer = melos::text::Tokenizer::open(own.path()).unwrap();
        let template = template_of(own.path(), &tokenizer);
        let model = ChatModel::open(common::gpu(), own.path(), Beside::default(), None).unwrap();
        wanted(
            own.path(),
            &template,
            &model,
            &["Hello?", "x", "and so on", "1 2 3"],
            &greedy(7),
        );
    }
}

#[test]
fn every_token_that_ends_a_text_ends_an_answer() {
    let own = llama(GROWS);
    let all: Vec<u32> = (0..273).collect();
    fs::write(
        own.path().join("generation_config.json"),
        json!({"eos_token_id": all}).to_string(),
    )
    .unwrap();
    let model = ChatModel::open(common::gpu(), own.path(), Beside::default(), None).unwrap();
    let mut chat = model.begin(128, 1).unwrap();
    assert_eq!(chat.say("Hello?", &greedy(7), &mut |_| Ok(())).unwrap(), "");
    let generator = Generator::open(common::gpu(), own.path(), Beside::default()).unwrap();
    assert_eq!(
        generator
            .generate("Hello?", &greedy(7), &mut |_| Ok(()))
            .unwrap(),
        ""
    );
}

#[test]
fn a_conversation_that_is_full_is_refused_and_can_begin_anew() {
    let own = llama(GROWS);
    let model = ChatModel::open(common::gpu(), own.path(), Beside::default(), None).unwrap();
    let mut chat = model.begin(32, 1).unwrap();
    let error = chat
        .say(&"x".repeat(40), &greedy(7), &mut |_| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("--context") && error.contains("/reset"),
        "{error}"
    );
    assert!(chat.messages().is_empty());
    chat.say("x", &greedy(3), &mut |_| Ok(())).unwrap();
    assert_eq!(chat.messages().len(), 2);
    chat.reset();
    assert!(chat.messages().is_empty());
}

/// What the program prints to standard output and standard error for these lines, and its code.
fn program(own: &Path, input: &str, more: &[&str]) -> (String, String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_melos"))
        .arg("chat")
        .arg(own)
        .args(["--greedy", "--max-tokens", "5"])
        .args(more)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr), out.status.code())
}

#[test]
fn the_program_talks_a_line_a_turn() {
    let own = llama(GROWS);
    let (first, error, code) = program(own.path(), "Hello?\n", &[]);
    assert_eq!(code, Some(0), "{error}");
    assert!(first.len() > 1 && first.ends_with('\n'));
    let (out, error, code) = program(
        own.path(),
        "Hello?\n\n/reset\n/nope\nHello?\n/exit\nHello?\n",
        &[],
    );
    assert_eq!((out, code), (format!("{first}{first}"), Some(0)), "{error}");
    assert!(error.contains("no /nope"), "{error}");
    let (system, ..) = program(own.path(), "Hello?\n", &["--system", "Be brief."]);
    assert_ne!(system, first);
    assert_eq!(
        program(own.path(), "/system Be brief.\nHello?\n", &[]).0,
        system
    );
    fs::write(own.path().join("tokenizer_config.json"), "{}").unwrap();
    let (_, error, code) = program(own.path(), "Hello?\n", &[]);
    assert!(code == Some(2) && error.contains("--template"), "{error}");
    assert_eq!(
        program(own.path(), "Hello?\n", &["--template", "chatml"]).2,
        Some(0)
    );
}
