//! Templates: where they are found, and texts as transformers renders them.

use std::fs;

use melos::text::Tokenizer;
use melos::text::chat::{BUILT_IN, Template};
use serde_json::{Value, json};

use super::{fixture, messages, model, template_of, tokenizer_with};

const FAMILIES: [&str; 7] = [
    "llama3", "qwen2.5", "qwen3", "mistral", "gemma", "phi3", "tagged",
];

#[test]
fn every_family_is_rendered_as_transformers_does() {
    let fixture = fixture();
    let mut compared = 0;
    for name in FAMILIES {
        let (folder, tokenizer) = model(name);
        let template = template_of(folder.path(), &tokenizer);
        let cases = fixture["expected"].as_array().unwrap();
        for case in cases.iter().filter(|case| case["template"] == name) {
            let conversation =
                &fixture["conversations"][case["conversation"].as_u64().unwrap() as usize];
            let place = format!("{name} {}", case["conversation"]);
            let messages = messages(conversation);
            let tools = conversation.get("tools");
            let whole = template.render(&messages, tools, false);
            if let Some(refused) = case["refused"].as_str() {
                let error = whole.unwrap_err();
                assert!(error.ends_with(refused), "{place}: {error}");
                continue;
            }
            let whole = whole.unwrap();
            assert_eq!(whole, case["whole"].as_str().unwrap(), "{place}");
            let asked = template.render(&messages[..messages.len() - 1], tools, true);
            assert_eq!(asked.unwrap(), case["asked"].as_str().unwrap(), "{place}");
            if let Some(ids) = case["ids"].as_array() {
                let ids: Vec<u32> = ids.iter().map(|id| id.as_u64().unwrap() as u32).collect();
                assert_eq!(tokenizer.encode(&whole).unwrap(), ids, "{place}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 38);
}

fn says_hi(template: &Template) -> String {
    let hi = json!({"messages": [{"role": "user", "content": "hi"}]});
    template.render(&messages(&hi), None, true).unwrap()
}

#[test]
fn a_template_is_found_where_transformers_finds_it() {
    let named = json!([
        {"name": "tool_use", "template": "T{{ tools | length }}"},
        {"name": "default", "template": "D"},
    ]);
    let (folder, tokenizer) = tokenizer_with(&json!({"chat_template": named}));
    let template = template_of(folder.path(), &tokenizer);
    assert_eq!(says_hi(&template), "D");
    let tools = json!([{"name": "x"}]);
    assert_eq!(template.render(&[], Some(&tools), false).unwrap(), "T1");
    // The file of its own goes first.
    fs::write(folder.path().join("chat_template.jinja"), "F").unwrap();
    let template = template_of(folder.path(), &tokenizer);
    assert_eq!(says_hi(&template), "F");
    let (folder, tokenizer) = tokenizer_with(&json!({}));
    assert!(
        Template::of_folder(folder.path(), &tokenizer)
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_is_no_template_is_said() {
    for (template, said) in [
        (json!("{% for x %}"), "is no chat template that can be read"),
        (json!([{"name": "default"}]), "a list of name and template"),
        (
            json!([{"name": "rag", "template": "x"}]),
            "none that is called 'default'",
        ),
    ] {
        let (folder, tokenizer) = tokenizer_with(&json!({"chat_template": template}));
        let error = Template::of_folder(folder.path(), &tokenizer)
            .err()
            .unwrap();
        let error = error.to_string();
        assert!(
            error.contains(said) && error.contains("tokenizer_config.json"),
            "{error}"
        );
    }
    let (_folder, tokenizer) = tokenizer_with(&json!({}));
    let error = Template::named("--template", "chatlm", &tokenizer)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("chatml, alpaca"), "{error}");
}

#[test]
fn a_template_that_never_ends_does() {
    let endless =
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    let (folder, tokenizer) = tokenizer_with(&json!({"chat_template": endless}));
    let template = template_of(folder.path(), &tokenizer);
    let error = template.render(&[], None, false).unwrap_err();
    assert!(error.contains("chat template"), "{error}");
}

#[test]
fn today_is_told_in_the_format_that_is_asked_for() {
    let (folder, tokenizer) =
        tokenizer_with(&json!({"chat_template": "{{ strftime_now('%Y|%d %b') }}"}));
    let text = says_hi(&template_of(folder.path(), &tokenizer));
    let now = jiff::Zoned::now();
    let (year, rest) = text.split_once('|').unwrap();
    assert_eq!(year, now.year().to_string());
    let (day, month) = rest.split_once(' ').unwrap();
    assert!(
        (1..=31).contains(&day.parse::<u8>().unwrap()) && month.len() == 3,
        "{text}"
    );
}

/// The built-in ones, on two turns after a system message.
fn built_in(name: &str, tokenizer: &Tokenizer) -> [String; 2] {
    let turns = json!({"messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
    ]});
    let template = Template::named("", name, tokenizer).unwrap();
    let turns = messages(&turns);
    [false, true].map(|prompt| template.render(&turns, None, prompt).unwrap())
}

#[test]
fn built_in_templates_are_those_of_their_names() {
    let config = json!({"bos_token": "<s>", "eos_token": "</s>"});
    let (_folder, tokenizer) = tokenizer_with(&config);
    assert_eq!(BUILT_IN.map(|(name, _)| name), ["chatml", "alpaca"]);
    let turns = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n\
                 <|im_start|>user\nc<|im_end|>\n";
    let asked = format!("{turns}<|im_start|>assistant\n");
    assert_eq!(built_in("chatml", &tokenizer), [turns.to_string(), asked]);
    // Stanford's words, when there is no system message of one's own.
    let alone: Value = json!({"messages": [{"role": "user", "content": "a"}]});
    let template = Template::named("", "alpaca", &tokenizer).unwrap();
    assert_eq!(
        template.render(&messages(&alone), None, true).unwrap(),
        "<s>Below is an instruction that describes a task. Write a response that appropriately completes the \
         request.\n\n### Instruction:\na\n\n### Response:\n"
    );
    let turns = "<s>S\n\n### Instruction:\na\n\n### Response:\nb</s>\n\n### Instruction:\nc\n\n### Response:\n";
    assert_eq!(built_in("alpaca", &tokenizer), [turns, turns]);
}
