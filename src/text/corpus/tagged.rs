//! Texts with a label on every word: CoNLL columns or JSON lines.

use std::path::Path;

use serde_json::{Map, Value};

use super::{detect, json, lines};
use crate::text::labelled::TaggedText;
use crate::{Error, Result, bounded};

/// Keys for the words and for their labels.
const WORDS: [&str; 2] = ["tokens", "words"];
const TAGS: [&str; 4] = ["tags", "labels", "ner_tags", "pos_tags"];

/// Reads a file: `.jsonl` (`.ndjson`, `.json`) holds an object a line with a list of `tokens` and one of `tags`; any
/// other a word a line, its label in the last column, an empty line after each text (CoNLL).
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`], [`Error::NotUtf8`], [`Error::MalformedRow`];
/// [`Error::EmptyText`] when there is no text.
pub fn read_tagged(path: &Path) -> Result<Vec<TaggedText>> {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.trim_end_matches(".gz");
    let jsonl = detect::is_json_lines(name);
    let mut lines = lines::Lines::open(path)?;
    let (mut texts, mut text) = (Vec::new(), TaggedText::default());
    loop {
        let line = lines.next()?.map(str::to_owned);
        let malformed = |message: &str| Error::MalformedRow {
            path: path.to_owned(),
            line: lines.line,
            message: message.to_owned(),
        };
        let line = match line.as_deref().map(str::trim) {
            None => break,
            Some("") => {
                finish(&mut text, &mut texts);
                continue;
            }
            Some(line) => line,
        };
        if jsonl {
            let row: Map<String, Value> = bounded::json(line.as_bytes())
                .map_err(|e| malformed(&json::expected_object(line, &e)))?;
            text.words = list(&row, &WORDS)
                .ok_or_else(|| malformed("expected a list of strings under 'tokens'"))?;
            text.tags = list(&row, &TAGS)
                .ok_or_else(|| malformed("expected a list of labels under 'tags'"))?;
            if text.words.len() != text.tags.len() {
                return Err(malformed("expected as many tags as tokens"));
            }
            finish(&mut text, &mut texts);
        } else if !line.starts_with("-DOCSTART-") {
            let mut columns = line.split_whitespace();
            match (columns.next(), columns.last()) {
                (Some(word), Some(tag)) => {
                    text.words.push(word.to_owned());
                    text.tags.push(tag.to_owned());
                }
                _ => {
                    return Err(malformed(
                        "expected a word and, in the last column, its label",
                    ));
                }
            }
        }
    }
    finish(&mut text, &mut texts);
    if texts.is_empty() {
        Err(Error::EmptyText {
            path: path.to_owned(),
        })
    } else {
        Ok(texts)
    }
}

fn finish(text: &mut TaggedText, texts: &mut Vec<TaggedText>) {
    if !text.words.is_empty() {
        texts.push(std::mem::take(text));
    }
}

/// Strings or numbers.
fn list(row: &Map<String, Value>, keys: &[&str]) -> Option<Vec<String>> {
    let values = keys.iter().find_map(|key| row.get(*key))?.as_array()?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    values.iter().map(text).collect()
}
