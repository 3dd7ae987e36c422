//! Answers that stand apart from what they answer: completions, and the two of a preference.

use serde_json::Value;

use super::forms::Example;
use super::messages::{self, Message, message};

/// What is asked.
pub(super) enum Prompt {
    /// Turns of a conversation.
    Messages(Vec<Message>),
    /// A text.
    Text(String),
    /// What both answers begin with.
    Shared,
}

impl Prompt {
    pub fn of(value: &Value) -> Result<Prompt, String> {
        match value {
            Value::String(text) => Ok(Prompt::Text(text.clone())),
            list => messages::of_list(list)
                .map(Prompt::Messages)
                .map_err(|wrong| format!("'prompt': {wrong}")),
        }
    }
}

/// An answer: a text, a message or some.
enum Answer {
    Text(String),
    Messages(Vec<Message>),
}

impl Answer {
    fn of(value: &Value, key: &str) -> Result<Answer, String> {
        let messages = match value {
            Value::String(text) => return Ok(Answer::Text(text.clone())),
            Value::Object(_) => messages::of_value(value).map(|one| vec![one]),
            list => messages::of_list(list),
        };
        messages
            .map(Answer::Messages)
            .map_err(|wrong| format!("'{key}': {wrong}"))
    }

    fn messages(self) -> Vec<Message> {
        match self {
            Answer::Text(text) => vec![message("assistant", text)],
            Answer::Messages(messages) => messages,
        }
    }
}

/// A prompt with its completion.
pub(super) fn completed(
    prompt: &Value,
    completion: &Value,
    tools: Option<Value>,
) -> Result<Example, String> {
    let answer = Answer::of(completion, "completion")?;
    answered(&Prompt::of(prompt)?, answer, &tools)
}

/// A prompt with each of two answers; `chosen` and `rejected` may hold it, where it does not stand alone.
pub(super) fn examples(
    prompt: Prompt,
    chosen: &Value,
    rejected: &Value,
    tools: Option<Value>,
) -> Result<[Example; 2], String> {
    let answers = [
        Answer::of(chosen, "chosen")?,
        Answer::of(rejected, "rejected")?,
    ];
    let (prompt, answers) = match (prompt, answers) {
        (Prompt::Shared, [Answer::Text(chosen), Answer::Text(rejected)]) => {
            let at = shared(&chosen, &rejected);
            let rest = [&chosen, &rejected].map(|text| Answer::Text(text[at..].to_owned()));
            (Prompt::Text(chosen[..at].to_owned()), rest)
        }
        (Prompt::Shared, answers) => {
            let [mut chosen, mut rejected] = answers.map(Answer::messages);
            let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b);
            let shared = same.count();
            if shared == 0 {
                return Err("'chosen' and 'rejected' begin with other messages; both should begin with what is asked".into());
            }
            let prompt = chosen.drain(..shared).collect();
            rejected.drain(..shared);
            let rest = [chosen, rejected].map(Answer::Messages);
            (Prompt::Messages(prompt), rest)
        }
        (prompt, answers) => (prompt, answers),
    };
    let [chosen, rejected] = answers.map(|answer| answered(&prompt, answer, &tools));
    Ok([chosen?, rejected?])
}

fn answered(prompt: &Prompt, answer: Answer, tools: &Option<Value>) -> Result<Example, String> {
    let mut messages = match (prompt, answer) {
        (Prompt::Text(prompt), Answer::Text(completion)) => {
            return Ok(Example::Text {
                prompt: prompt.clone(),
                completion,
            });
        }
        (prompt, answer) => {
            let prompt = match prompt {
                Prompt::Text(text) => vec![message("user", text.as_str())],
                Prompt::Messages(messages) => messages.clone(),
                Prompt::Shared => Vec::new(),
            };
            (prompt, answer.messages())
        }
    };
    messages::check_prompt(&messages.0)?;
    let first = messages.0.len();
    messages.0.append(&mut messages.1);
    Ok(Example::Messages {
        messages: messages.0,
        tools: tools.clone(),
        first,
    })
}

/// Bytes that two texts begin with alike; a space before what differs belongs to the answers.
fn shared(one: &str, other: &str) -> usize {
    let same = one.char_indices().zip(other.chars());
    let at =
        (same.take_while(|((_, a), b)| a == b).last()).map_or(0, |((at, c), _)| at + c.len_utf8());
    match one[..at].ends_with(' ') {
        true => at - 1,
        false => at,
    }
}
