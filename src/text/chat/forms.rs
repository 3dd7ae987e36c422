//! The forms in which conversations stand in files, told by the keys of their rows.
//!
//! ```text
//! messages            [{role, content}, …]                      (OpenAI)
//! conversations       [{from, value}, …], or role and content   (ShareGPT)
//! instruction         input, output; system, history            (Alpaca)
//! prompt, completion  two texts, or two lists of messages
//! text                a text of which everything is learned
//! chosen, rejected    a better and a worse answer to a prompt in any of these forms, or to none of its own
//! label               true or false beside any of these forms: a good or a bad answer
//! ```

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

use super::messages::{self, Message, message};
use super::pairs;
use crate::error::{Error, Result};
use crate::text::corpus::{self, Source};

/// A row as it is read.
pub(super) type Object = Map<String, Value>;

/// Something to learn from.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// A conversation, which the chat template makes a text of.
    Messages {
        /// What is said in turn.
        messages: Vec<Message>,
        /// The tools that may be called, where the row names some.
        tools: Option<Value>,
        /// The first message of which something is learned.
        first: usize,
    },
    /// A text as it is, without a template.
    Text {
        /// What stands before.
        prompt: String,
        /// What is learned.
        completion: String,
    },
}

impl Example {
    /// A conversation of which all answers are learned.
    pub(super) fn of(messages: Vec<Message>) -> Example {
        Example::Messages {
            messages,
            tools: None,
            first: 0,
        }
    }

    /// All that it says, a turn a line.
    pub fn said(&self) -> String {
        match self {
            Example::Messages { messages, .. } => {
                let said: Vec<&str> = messages.iter().map(messages::text_of).collect();
                said.join("\n")
            }
            Example::Text { prompt, completion } => format!("{prompt}{completion}"),
        }
    }

    /// Refuses what nothing can be learned of.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Example::Messages {
                messages, first, ..
            } => messages::check(messages, *first),
            Example::Text { completion, .. } if completion.trim().is_empty() => {
                Err("the answer is empty".into())
            }
            Example::Text { .. } => Ok(()),
        }
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// An answer to learn.
    Answer(Example),
    /// A better and a worse answer to the same.
    Pair {
        /// The better one.
        chosen: Example,
        /// The worse one.
        rejected: Example,
    },
    /// An answer that is good or bad.
    Judged {
        /// The answer and what it answers.
        example: Example,
        /// Which of them it is.
        good: bool,
    },
}

/// A row and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Its line, from 1; of a Parquet file its number.
    pub line: u64,
    /// What it says.
    pub row: Row,
}

/// In which form the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// In which form what is asked stands; `None`: in the answers alone.
    asked: Option<Asked>,
    /// Whether answers come in pairs, or are judged.
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Messages,
    Conversations,
    Alpaca,
    Prompt,
    Text,
}

/// What the rows of a file say of answers, and what an objective learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// What they are: answers to learn.
    #[default]
    Answers,
    /// Which of two is better.
    Pairs,
    /// Whether one is good.
    Judged,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.asked.map(|asked| match asked {
            Asked::Messages => "messages",
            Asked::Conversations => "conversations (ShareGPT)",
            Asked::Alpaca => "instructions (Alpaca)",
            Asked::Prompt => "prompts and completions",
            Asked::Text => "texts",
        });
        match (asked, self.kind) {
            (Some(asked), Kind::Answers) => f.write_str(asked),
            (Some(asked), Kind::Pairs) => {
                write!(f, "preferences (chosen, rejected) with {asked}")
            }
            (None, Kind::Pairs) => f.write_str("preferences (chosen, rejected)"),
            (asked, _) => write!(
                f,
                "judged answers (label) with {}",
                asked.unwrap_or("texts")
            ),
        }
    }
}

/// The form of a row with these keys.
pub fn form_of(row: &Map<String, Value>) -> Option<Form> {
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    let pairs = has("chosen") && has("rejected");
    let asked = if has("messages") {
        Some(Asked::Messages)
    } else if has("conversations") || has("conversation") {
        Some(Asked::Conversations)
    } else if has("instruction") && (pairs || has("output")) {
        Some(Asked::Alpaca)
    } else if has("prompt") && (pairs || has("completion")) {
        Some(Asked::Prompt)
    } else if has("text") && !pairs {
        Some(Asked::Text)
    } else {
        None
    };
    let judged = row.get("label").is_some_and(|label| truth(label).is_some());
    let kind = match (pairs, judged) {
        (true, _) => Kind::Pairs,
        (false, true) => Kind::Judged,
        (false, false) => Kind::Answers,
    };
    (pairs || asked.is_some()).then_some(Form { asked, kind })
}

/// True or false, as files say it.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The text under a key; "" where there is none.
fn text<'a>(row: &'a Object, key: &str) -> Result<&'a str, String> {
    match row.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("'{key}' should be a string")),
    }
}

/// What stands under a key; a table holds lists and objects as JSON.
fn value<'a>(row: &'a Object, key: &str) -> Result<Cow<'a, Value>, String> {
    match row.get(key) {
        None | Some(Value::Null) => Err(format!("has no '{key}', which the first row has")),
        Some(Value::String(text)) if text.trim_start().starts_with(['[', '{']) => {
            Ok(match serde_json::from_str(text) {
                Ok(parsed) => Cow::Owned(parsed),
                Err(_) => Cow::Borrowed(&row[key]),
            })
        }
        Some(value) => Ok(Cow::Borrowed(value)),
    }
}

impl Form {
    /// Whether its rows are turns of conversations, or answers to something, and no texts alone.
    pub fn is_conversation(self) -> bool {
        self.asked != Some(Asked::Text)
    }

    /// What a row in this form says.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(self, row: &Object) -> Result<Row, String> {
        let row = match self.kind {
            Kind::Pairs => {
                let (chosen, rejected) = (value(row, "chosen")?, value(row, "rejected")?);
                let asked = self.asked(row)?;
                if chosen == rejected {
                    return Err("'chosen' and 'rejected' are the same: neither is better".into());
                }
                let [chosen, rejected] = pairs::examples(asked, &chosen, &rejected, tools(row)?)?;
                Row::Pair { chosen, rejected }
            }
            Kind::Judged => {
                let good = row.get("label").and_then(truth);
                let good = good.ok_or("'label' should be true or false")?;
                let mut example = self.answer(row)?;
                // What is judged of a conversation is its last answer.
                if let Example::Messages {
                    messages, first, ..
                } = &mut example
                    && *first == 0
                {
                    *first = messages.len().saturating_sub(1);
                }
                Row::Judged { example, good }
            }
            Kind::Answers => Row::Answer(self.answer(row)?),
        };
        let wrong = |what: &'static str| move |wrong: String| format!("{what}: {wrong}");
        match &row {
            Row::Answer(example) | Row::Judged { example, .. } => example.check()?,
            Row::Pair { chosen, rejected } => {
                chosen.check().map_err(wrong("chosen"))?;
                rejected.check().map_err(wrong("rejected"))?;
            }
        }
        Ok(row)
    }

    /// An answer with what it answers.
    fn answer(self, row: &Object) -> Result<Example, String> {
        let messages = |key: &str| messages::of_list(&*value(row, key)?);
        let mut example = match self.asked {
            Some(Asked::Messages) => Example::of(messages("messages")?),
            Some(Asked::Conversations) => Example::of(conversation(row)?),
            Some(Asked::Alpaca) => {
                let mut messages = alpaca(row)?;
                messages.push(message("assistant", text(row, "output")?));
                Example::of(messages)
            }
            Some(Asked::Prompt) => {
                let (prompt, completion) = (value(row, "prompt")?, value(row, "completion")?);
                return pairs::completed(&prompt, &completion, tools(row)?);
            }
            Some(Asked::Text) | None => Example::Text {
                prompt: String::new(),
                completion: text(row, "text")?.to_owned(),
            },
        };
        if let Example::Messages { tools: own, .. } = &mut example {
            *own = tools(row)?;
        }
        Ok(example)
    }

    /// What is asked, where answers stand apart.
    fn asked(self, row: &Object) -> Result<pairs::Prompt, String> {
        Ok(match self.asked {
            Some(Asked::Messages) => {
                pairs::Prompt::Messages(messages::of_list(&*value(row, "messages")?)?)
            }
            Some(Asked::Conversations) => pairs::Prompt::Messages(conversation(row)?),
            Some(Asked::Alpaca) => pairs::Prompt::Messages(alpaca(row)?),
            Some(Asked::Prompt) => pairs::Prompt::of(&*value(row, "prompt")?)?,
            Some(Asked::Text) | None => pairs::Prompt::Shared,
        })
    }
}

/// The tools that a row names.
fn tools(row: &Object) -> Result<Option<Value>, String> {
    match row.get("tools") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(_) => match value(row, "tools")?.into_owned() {
            Value::Array(tools) if tools.is_empty() => Ok(None),
            tools @ Value::Array(_) => Ok(Some(tools)),
            _ => Err("'tools' should be a list".into()),
        },
    }
}

/// The turns of ShareGPT, with the system message that may stand beside them.
fn conversation(row: &Object) -> Result<Vec<Message>, String> {
    let key = match row.contains_key("conversations") {
        true => "conversations",
        false => "conversation",
    };
    let mut messages = system(row)?;
    messages.extend(messages::of_list(&*value(row, key)?)?);
    Ok(messages)
}

fn system(row: &Object) -> Result<Vec<Message>, String> {
    let text = text(row, "system")?;
    let there = (!text.is_empty()).then(|| message("system", text));
    Ok(there.into_iter().collect())
}

/// An instruction with what comes before it.
fn alpaca(row: &Object) -> Result<Vec<Message>, String> {
    let mut messages = system(row)?;
    let wrong = "'history' should be a list of pairs of texts";
    let history = match row.get("history") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => {
            let value = value(row, "history")?;
            serde_json::from_value::<Vec<[String; 2]>>(value.into_owned()).map_err(|_| wrong)?
        }
    };
    for [asked, answered] in history {
        messages.push(message("user", asked));
        messages.push(message("assistant", answered));
    }
    let parts = [text(row, "instruction")?, text(row, "input")?];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    let asked = parts.collect::<Vec<_>>().join("\n");
    if asked.is_empty() {
        return Err("'instruction' is empty".into());
    }
    messages.push(message("user", asked));
    Ok(messages)
}

/// Gives each row of a file to `each`, in the form of the first, which is returned.
///
/// # Errors
/// Those of reading and of `each`; [`Error::MalformedRow`] for a row that is not as it should be, or a
/// first row in no form that is known; [`Error::EmptyText`].
pub fn rows(source: &Source, each: &mut dyn FnMut(Read) -> Result<()>) -> Result<Form> {
    let path = &source.path;
    let mut form = None;
    corpus::rows(source, &mut |line, row| {
        let malformed = |message: String| malformed(path, line, message);
        let own = match form {
            Some(form) => form,
            None => *form.insert(form_of(&row).ok_or_else(|| malformed(unknown(&row)))?),
        };
        let row = own.read(&row).map_err(malformed)?;
        each(Read { line, row })
    })?;
    form.ok_or_else(|| Error::EmptyText { path: path.clone() })
}

/// In which form a file is, by its first row.
///
/// # Errors
/// As [`rows`].
pub fn form(source: &Source) -> Result<Form> {
    let path = &source.path;
    let mut found = None;
    let read = corpus::rows(source, &mut |line, row| {
        found = form_of(&row);
        // Whether it is one or not, the rest is read when it is asked for.
        Err(malformed(path, line, unknown(&row)))
    });
    match found {
        Some(form) => Ok(form),
        None => read.and_then(|()| Err(Error::EmptyText { path: path.clone() })),
    }
}

/// What is wrong with a row, where it stands.
pub(super) fn malformed(path: &Path, line: u64, message: String) -> Error {
    Error::MalformedRow {
        path: path.to_owned(),
        line,
        message,
    }
}

fn unknown(row: &Object) -> String {
    let keys: Vec<&str> = row.keys().map(String::as_str).collect();
    format!(
        "has the keys {}, which are no conversation; expected messages, or conversations, or instruction and \
         output, or prompt and completion, or text; for preferences chosen and rejected",
        keys.join(", ")
    )
}
