//! Which tokens are learned: as the template's tags say, or what an answer adds.

use melos::text::Tokenizer;
use melos::text::chat::{Encoded, Encoder, Example, Learn, Template};
use serde_json::json;

use super::{fixture, messages, model, template_of, tokenizer_with};

fn encode(
    tokenizer: &Tokenizer,
    template: Option<&Template>,
    example: &Example,
    learn: Learn,
) -> Result<Encoded, String> {
    let encoder = Encoder {
        tokenizer,
        template,
        learn,
        key: "--template",
    };
    encoder.encode(example).map_err(|e| e.to_string())?
}

fn conversation(value: &serde_json::Value, first: usize) -> Example {
    Example::Messages {
        messages: messages(value),
        tools: value.get("tools").cloned(),
        first,
    }
}

/// The texts of what is learned.
fn said(tokenizer: &Tokenizer, encoded: &Encoded) -> Vec<String> {
    let ids = |range: &std::ops::Range<u32>| &encoded.ids[range.start as usize..range.end as usize];
    let text = |range| tokenizer.decode_with(ids(range), false).unwrap();
    encoded.learned.iter().map(text).collect()
}

#[test]
fn the_tags_of_a_template_say_what_is_learned_as_in_transformers() {
    let fixture = fixture();
    let (folder, tokenizer) = model("tagged");
    let template = template_of(folder.path(), &tokenizer);
    let mut compared = 0;
    for case in fixture["expected"].as_array().unwrap() {
        let Some(mask) = case["mask"].as_str() else {
            continue;
        };
        let talk = &fixture["conversations"][case["conversation"].as_u64().unwrap() as usize];
        let encoded = encode(
            &tokenizer,
            Some(&template),
            &conversation(talk, 0),
            Learn::Assistant,
        )
        .unwrap();
        let mut own = vec![b'0'; encoded.ids.len()];
        for range in &encoded.learned {
            own[range.start as usize..range.end as usize].fill(b'1');
        }
        // The text ends with no special token, so that an end is put there, and learned.
        assert_eq!(own.pop(), Some(b'1'));
        assert_eq!(String::from_utf8(own).unwrap(), mask, "{talk}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn answers_are_learned_with_the_token_that_ends_them() {
    let fixture = fixture();
    let (mut compared, mut refused) = (0, Vec::new());
    for case in fixture["expected"].as_array().unwrap() {
        let (Some(name), Some(learned)) = (case["template"].as_str(), case["learned"].as_array())
        else {
            continue;
        };
        let number = case["conversation"].as_u64().unwrap();
        let talk = &fixture["conversations"][number as usize];
        let (folder, tokenizer) = model(name);
        let template = template_of(folder.path(), &tokenizer);
        let encoded = encode(
            &tokenizer,
            Some(&template),
            &conversation(talk, 0),
            Learn::Assistant,
        );
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                assert!(error.contains("learn = \"all\""), "{error}");
                refused.push((name.to_string(), number));
                continue;
            }
        };
        let mut learned: Vec<String> = serde_json::from_value(learned.clone().into()).unwrap();
        if name == "phi3" {
            // What ends the whole is the end of its last turn.
            learned.last_mut().unwrap().push_str("\n<|endoftext|>");
        }
        assert_eq!(said(&tokenizer, &encoded), learned, "{name} {number}");
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(encoded.ids, ids, "{name} {number}");
        compared += 1;
    }
    assert_eq!(compared, 21);
    // Mistral puts the system message before the last of the user's turns, wherever that is.
    assert_eq!(refused, [("mistral".to_string(), 1), ("mistral".into(), 3)]);
}

#[test]
fn an_answer_that_is_written_otherwise_later_is_refused_and_all_of_it_can_be_learned() {
    let fixture = fixture();
    let (folder, tokenizer) = model("qwen3");
    let template = template_of(folder.path(), &tokenizer);
    let talks = fixture["conversations"].as_array().unwrap();
    let learned = |number: usize, learn| {
        let encoded = encode(
            &tokenizer,
            Some(&template),
            &conversation(&talks[number], 0),
            learn,
        )?;
        Ok(said(&tokenizer, &encoded))
    };
    let answer = "<think>\n\n</think>\n\nHi, 走れ! 🦀 <|im_end|>";
    assert_eq!(learned(0, Learn::Assistant), Ok(vec![answer.to_string()]));
    // The thinking of a turn goes once another follows.
    let error: String = learned(4, Learn::Assistant).unwrap_err();
    assert!(
        error.starts_with("message 2:") && error.contains("generation"),
        "{error}"
    );
    let whole = template.render(&messages(&talks[4]), None, false).unwrap();
    assert_eq!(learned(4, Learn::All), Ok(vec![whole]));
}

#[test]
fn of_an_answer_to_a_prompt_only_that_is_learned() {
    let fixture = fixture();
    let talk = &fixture["conversations"][2];
    for name in ["qwen2.5", "tagged"] {
        let (folder, tokenizer) = model(name);
        let template = template_of(folder.path(), &tokenizer);
        let encoded = encode(
            &tokenizer,
            Some(&template),
            &conversation(talk, 3),
            Learn::Assistant,
        );
        let said = said(&tokenizer, &encoded.unwrap());
        assert!(
            said[0].contains("d<|im_end|>") && !said.concat().contains('b'),
            "{said:?}"
        );
    }
}

#[test]
fn texts_end_and_begin_once() {
    // A tokeniser that begins every text with <s>, as Llama's.
    let (folder, _) = tokenizer_with(&json!({}));
    let path = folder.path().join("tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let id = json["added_tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["content"] == "<s>")
        .unwrap()["id"]
        .clone();
    json["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [id], "tokens": ["<s>"]}},
    });
    std::fs::write(&path, json.to_string()).unwrap();
    let config = json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ bos_token }}{{ messages[-1].content }}"});
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        config.to_string(),
    )
    .unwrap();
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let whole = |encoded: &Encoded| tokenizer.decode_with(&encoded.ids, false).unwrap();
    let text = |prompt: &str, completion: &str, learn| {
        let example = Example::Text {
            prompt: prompt.into(),
            completion: completion.into(),
        };
        encode(&tokenizer, None, &example, learn).unwrap()
    };
    let plain = text("", "two words", Learn::Assistant);
    assert_eq!(whole(&plain), "<s>two words</s>");
    // The first token follows nothing.
    assert_eq!(plain.learned_of(usize::MAX), plain.ids.len() - 1);
    assert_eq!(plain.learned_of(4), 3);
    let asked = text("Q: é\nA:", " yes", Learn::Assistant);
    assert_eq!(whole(&asked), "<s>Q: é\nA: yes</s>");
    assert_eq!(said(&tokenizer, &asked), [" yes</s>"]);
    assert_eq!(said(&tokenizer, &text("Q", "A", Learn::All)), ["<s>QA</s>"]);
    // A template says itself where a text begins; an end that it lacks is learned all the same.
    let template = template_of(folder.path(), &tokenizer);
    let talk = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "xy"}]});
    let encoded = encode(
        &tokenizer,
        Some(&template),
        &conversation(&talk, 0),
        Learn::Assistant,
    )
    .unwrap();
    assert_eq!(whole(&encoded), "<s>xy</s>");
    assert_eq!(said(&tokenizer, &encoded), ["y</s>"]);
}

#[test]
fn a_template_that_leaves_answers_out_is_refused() {
    for template in [
        "",
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
    ] {
        let (folder, tokenizer) = tokenizer_with(&json!({"chat_template": template}));
        let template = template_of(folder.path(), &tokenizer);
        let talk = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]});
        let example = conversation(&talk, 0);
        let error = encode(&tokenizer, Some(&template), &example, Learn::Assistant).unwrap_err();
        assert!(
            error.contains("message 2") && error.contains("leaves this answer out"),
            "{error}"
        );
    }
}

#[test]
fn messages_without_a_template_say_what_to_set() {
    let (_folder, tokenizer) = tokenizer_with(&json!({}));
    let talk = json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]});
    let error = encode(&tokenizer, None, &conversation(&talk, 0), Learn::Assistant).unwrap_err();
    assert!(
        error.contains("--template") && error.contains("chatml"),
        "{error}"
    );
}
