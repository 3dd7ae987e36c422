//! Messages as templates see them, whatever the spelling of their rows.

use serde_json::{Map, Value};

/// A message: `role`, `content`, and what else its row says (`tool_calls`, `reasoning_content`).
pub type Message = Map<String, Value>;

/// What a role is called in files, and what templates call it.
const ROLES: [(&str, &str); 14] = [
    ("system", "system"),
    ("developer", "developer"),
    ("user", "user"),
    ("human", "user"),
    ("assistant", "assistant"),
    ("gpt", "assistant"),
    ("chatgpt", "assistant"),
    ("bing", "assistant"),
    ("bard", "assistant"),
    ("model", "assistant"),
    ("bot", "assistant"),
    ("tool", "tool"),
    ("function", "tool"),
    ("observation", "tool"),
];

/// Where reasoning stands, the newest name first; as transformers has it.
const REASONING: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// A message of this role.
pub fn message(role: &str, content: impl Into<String>) -> Message {
    let mut message = Message::new();
    message.insert("role".into(), role.into());
    message.insert("content".into(), content.into().into());
    message
}

/// What a message's role is.
pub(super) fn role(message: &Message) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or("")
}

/// Whether it is an answer.
pub(super) fn is_answer(message: &Message) -> bool {
    role(message) == "assistant"
}

/// The text of a message.
pub fn text_of(message: &Message) -> &str {
    message.get("content").and_then(Value::as_str).unwrap_or("")
}

/// The messages of a list, each with `role` and `content` or `from` and `value`; or what is wrong.
pub(super) fn of_list(value: &Value) -> Result<Vec<Message>, String> {
    let Value::Array(list) = value else {
        return Err("should be a list of messages".into());
    };
    let numbered = |(at, value): (usize, &Value)| {
        of_value(value).map_err(|wrong| format!("message {}: {wrong}", at + 1))
    };
    list.iter().enumerate().map(numbered).collect()
}

/// One message.
pub(super) fn of_value(value: &Value) -> Result<Message, String> {
    let Value::Object(object) = value else {
        return Err("should be an object with role and content (or from and value)".into());
    };
    let said = |keys: [&str; 2]| keys.into_iter().find_map(|key| object.get(key));
    let Some(name) = said(["role", "from"]).and_then(Value::as_str) else {
        return Err("has no role (or from)".into());
    };
    let Some((_, role)) = ROLES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = ROLES.iter().map(|(known, _)| *known).collect();
        return Err(format!(
            "has the role '{name}'; melos knows {}",
            known.join(", ")
        ));
    };
    let mut message = Message::new();
    message.insert("role".into(), (*role).into());
    if let Some(content) = said(["content", "value"]).filter(|c| !c.is_null()) {
        message.insert("content".into(), text(content)?.into());
    }
    // As transformers does: what is null is not there.
    let own = ["role", "from", "content", "value"];
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        if !own.contains(&key.as_str()) {
            message.insert(key.clone(), value.clone());
        }
    }
    if let Some(reasoning) = REASONING.iter().find_map(|key| message.get(*key)).cloned() {
        message
            .entry("thinking")
            .or_insert_with(|| reasoning.clone());
        message.insert("reasoning_content".into(), reasoning);
    }
    if !message.contains_key("content") {
        if !has_calls(&message) {
            return Err("has no content (or value)".into());
        }
        message.insert("content".into(), "".into());
    }
    Ok(message)
}

/// A text, or the texts of a list of parts.
fn text(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let part = |part: &Value| match part.get("text").and_then(Value::as_str) {
                Some(text) if part.get("type").is_none_or(|kind| kind == "text") => {
                    Ok(text.to_owned())
                }
                _ => Err("holds something that is no text; melos reads text alone".to_string()),
            };
            parts.iter().map(part).collect()
        }
        _ => Err("should have a string for its content".into()),
    }
}

fn has_calls(message: &Message) -> bool {
    let calls = message.get("tool_calls").and_then(Value::as_array);
    calls.is_some_and(|calls| !calls.is_empty())
}

/// Checks that roles take turns and that there is an answer to learn among the messages from `first` on.
///
/// # Errors
/// What is wrong, in words.
pub fn check(messages: &[Message], first: usize) -> Result<(), String> {
    let mut before = None;
    for (at, message) in messages.iter().enumerate() {
        let role = role(message);
        let fits = matches!(
            (before, role),
            (None, "system" | "developer" | "user")
                | (Some("system" | "developer"), "user")
                | (Some("user"), "assistant")
                | (Some("assistant"), "user" | "tool")
                | (Some("tool"), "tool" | "assistant")
        );
        if !fits {
            let place = match before {
                None => "at the beginning".to_string(),
                Some(before) => format!("after {before}"),
            };
            return Err(format!(
                "message {}: '{role}' {place} is out of order; expected system (if any), then user and \
                 assistant in turns",
                at + 1
            ));
        }
        let empty = text_of(message).trim().is_empty();
        if role == "assistant" && at >= first && empty && !has_calls(message) {
            return Err(format!("message {}: the answer is empty", at + 1));
        }
        before = Some(role);
    }
    match before {
        Some("assistant") => Ok(()),
        _ if !messages.iter().skip(first).any(is_answer) => {
            Err("has no turn of the assistant: there is nothing to learn".into())
        }
        _ => {
            let last = before.unwrap_or_default();
            Err(format!(
                "ends with a turn of '{last}', to which there is no answer; leave it out"
            ))
        }
    }
}

/// Checks that messages lead to an answer, and have none at their end.
pub(super) fn check_prompt(messages: &[Message]) -> Result<(), String> {
    let answered = [messages, &[message("assistant", "x")]].concat();
    check(&answered, messages.len()).map_err(|wrong| format!("the prompt: {wrong}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(turns: &[(&str, &str)]) -> Vec<Message> {
        turns
            .iter()
            .map(|(role, text)| message(role, *text))
            .collect()
    }

    #[test]
    fn spellings_become_one() {
        let list = json!([
            {"from": "human", "value": "hi"},
            {"role": "assistant", "content": [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]},
            {"from": "observation", "value": "3", "name": null},
            {"role": "assistant", "content": null, "tool_calls": [{"x": 1}], "reasoning": "hm"},
        ]);
        let messages = of_list(&list).unwrap();
        let seen: Vec<_> = messages.iter().map(|m| (role(m), text_of(m))).collect();
        assert_eq!(
            seen,
            [
                ("user", "hi"),
                ("assistant", "hello"),
                ("tool", "3"),
                ("assistant", "")
            ]
        );
        assert!(!messages[2].contains_key("name"));
        assert_eq!(messages[3]["reasoning_content"], "hm");
        assert_eq!(messages[3]["thinking"], "hm");
        for (wrong, said) in [
            (json!([{"role": "narrator", "content": "x"}]), "'narrator'"),
            (
                json!([{"role": "user", "content": "x"}, {"content": "x"}]),
                "message 2: has no role",
            ),
            (json!([{"role": "user"}]), "no content"),
            (
                json!([{"role": "user", "content": [{"type": "image"}]}]),
                "no text",
            ),
            (json!("x"), "a list of messages"),
        ] {
            let error = of_list(&wrong).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let (s, u, a, t) = ("system", "user", "assistant", "tool");
        check(&of(&[(s, ""), (u, "x"), (a, "y"), (t, "z"), (a, "w")]), 0).unwrap();
        for (turns, said) in [
            (
                vec![(a, "x"), (u, "y"), (a, "z")],
                "message 1: 'assistant' at the beginning",
            ),
            (
                vec![(u, "x"), (u, "y"), (a, "z")],
                "message 2: 'user' after user",
            ),
            (
                vec![(u, "x"), (a, "y"), (s, "z")],
                "message 3: 'system' after assistant",
            ),
            (vec![(u, "x"), (a, " \n")], "message 2: the answer is empty"),
            (vec![(u, "x")], "no turn of the assistant"),
            (vec![], "no turn of the assistant"),
            (
                vec![(u, "x"), (a, "y"), (u, "z")],
                "ends with a turn of 'user'",
            ),
        ] {
            let error = check(&of(&turns), 0).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        check_prompt(&of(&[(u, "x"), (a, "y"), (u, "z")])).unwrap();
        assert!(check_prompt(&of(&[(u, "x"), (a, "y")])).is_err());
    }
}
