//! Texts with a label on every word: CoNLL columns or JSON lines.

use std::path::Path;

use serde_json::Value;

use super::columns::{column_missing, is_text, listed};
use super::describe::Described;
use super::objects::{self, malformed};
use super::{Column, Format, Source, detect, lines};
use crate::text::labelled::TaggedText;
use crate::{Error, Result};

/// Keys for the words and for their labels.
const WORDS: [&str; 2] = ["tokens", "words"];
const TAGS: [&str; 4] = ["tags", "labels", "ner_tags", "pos_tags"];

/// Reads a file of texts whose words have labels: `.jsonl` (`.ndjson`, `.json`, `.parquet`) holds an object for each text
/// with a list of `tokens` and one of `tags`; any other a word a line, its label in the last column, an empty
/// line after each text (CoNLL). The source's columns say otherwise. With [`Source::rows`] labels
/// may be missing, and none are read.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`], [`Error::NotUtf8`], [`Error::MalformedRow`];
/// [`Error::ColumnMissing`] for a key or column that is not there; [`Error::EmptyText`] when there is no
/// text.
pub fn read_tagged(source: &Source) -> Result<Vec<TaggedText>> {
    let path = &source.path;
    let texts = if detect::holds_objects(path) {
        read_json(source)
    } else {
        read_conll(source)
    }?;
    if texts.is_empty() {
        return Err(Error::EmptyText { path: path.clone() });
    }
    Ok(texts)
}

/// Whether a file looks like texts whose words have labels: by the keys of its first object, or by an empty
/// line between lines of words and labels.
///
/// # Errors
/// Those of reading its beginning.
pub fn is_tagged(path: &Path) -> Result<bool> {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.trim_end_matches(".gz");
    if detect::holds_objects(path) {
        let keys = first_keys(path)?;
        let has = |names: &[&str]| names.iter().any(|name| keys.iter().any(|key| key == name));
        return Ok(has(&WORDS) && has(&TAGS));
    }
    Ok(name.ends_with(".conll") || name.ends_with(".conllu") || name.ends_with(".bio"))
}

/// Whether a file looks like texts whose words have labels and holds no other text.
///
/// # Errors
/// Those of reading its beginning.
pub fn is_only_tagged(path: &Path) -> Result<bool> {
    if !is_tagged(path)? {
        return Ok(false);
    }
    Ok(!detect::holds_objects(path) || !first_keys(path)?.iter().any(|key| is_text(key)))
}

/// The keys of the first object.
fn first_keys(path: &Path) -> Result<Vec<String>> {
    let mut keys = None;
    let read = objects::read(path, &mut |line, object| {
        keys = Some(object.keys().cloned().collect());
        // The rest is read when it is asked for.
        Err(malformed(path, line, "enough"))
    });
    match keys {
        Some(keys) => Ok(keys),
        None => read.map(|()| Vec::new()),
    }
}

/// What a file is read as: see [`Described`].
pub(super) fn describe(source: &Source, described: &mut Described) -> Result<()> {
    let asked = |column: &Option<Column>| column.as_ref().map(Column::to_string);
    if detect::holds_objects(&source.path) {
        let keys = first_keys(&source.path)?;
        let usual = |names: &[&str]| {
            let known = names
                .iter()
                .find(|name| keys.iter().any(|key| key == *name));
            known.map(ToString::to_string)
        };
        let format = source.resolve_format()?;
        described.format = format.name();
        if format == Format::Parquet {
            described.encoding = None;
        }
        described.text = asked(&source.text).or_else(|| usual(&WORDS));
        described.label = asked(&source.label).or_else(|| usual(&TAGS));
        described.columns = keys;
    } else {
        described.format = "conll".into();
        described.text = asked(&source.text).or_else(|| Some("0".into()));
        described.label = asked(&source.label).or_else(|| Some("the last".into()));
    }
    Ok(())
}

fn read_json(source: &Source) -> Result<Vec<TaggedText>> {
    let mut texts = Vec::new();
    objects::read(&source.path, &mut |line, object| {
        let list = |column: &Option<Column>, role, names: &[&str]| {
            let values = match column {
                Some(column) => {
                    let keys: Vec<&String> = object.keys().collect();
                    let missing = || {
                        column_missing(
                            source,
                            &Some(column.clone()),
                            role,
                            listed(&keys),
                            "its key",
                        )
                    };
                    Some(object.get(&column.to_string()).ok_or_else(missing)?)
                }
                None => names.iter().find_map(|name| object.get(*name)),
            };
            values.and_then(strings).ok_or_else(|| {
                let what = if role == "text" { "strings" } else { "labels" };
                let key = column
                    .as_ref()
                    .map_or(names[0].to_owned(), Column::to_string);
                let message = format!("expected a list of {what} under '{key}'");
                malformed(&source.path, line, message)
            })
        };
        let words = list(&source.text, "text", &WORDS)?;
        let tags = match source.rows {
            true => vec![String::new(); words.len()],
            false => list(&source.label, "label", &TAGS)?,
        };
        if words.len() != tags.len() {
            let (words, tags) = (words.len(), tags.len());
            let message = format!("expected as many tags as tokens, found {tags} and {words}");
            return Err(malformed(&source.path, line, message));
        }
        if !words.is_empty() {
            texts.push(TaggedText { words, tags });
        }
        Ok(())
    })?;
    Ok(texts)
}

fn read_conll(source: &Source) -> Result<Vec<TaggedText>> {
    let path = &source.path;
    let number = |column: &Option<Column>, role| match column {
        None => Ok(None),
        Some(Column::Index(number)) => Ok(Some(*number)),
        named => {
            let columns = "a word and its labels, without names";
            Err(column_missing(
                source,
                named,
                role,
                columns.into(),
                "its number (from 0)",
            ))
        }
    };
    let word = number(&source.text, "text")?.unwrap_or(0);
    let label = number(&source.label, "label")?;
    let mut lines = lines::Lines::open(path)?;
    let (mut texts, mut text) = (Vec::new(), TaggedText::default());
    while let Some(line) = lines.next()?.map(|line| line.trim().to_owned()) {
        if line.is_empty() {
            finish(&mut text, &mut texts);
        } else if !line.starts_with("-DOCSTART-") {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if let (true, Some(word)) = (source.rows, columns.get(word)) {
                text.words.push(word.to_string());
                text.tags.push(String::new());
                continue;
            }
            let label = label.unwrap_or(columns.len() - 1);
            let (Some(word), Some(tag), true) =
                (columns.get(word), columns.get(label), word != label)
            else {
                let expected = match source.label {
                    None => "expected a word and, in the last column, its label".into(),
                    _ => {
                        format!("expected a word in column {word} and its label in column {label}")
                    }
                };
                return Err(malformed(path, lines.line, expected));
            };
            text.words.push(word.to_string());
            text.tags.push(tag.to_string());
        }
    }
    finish(&mut text, &mut texts);
    Ok(texts)
}

fn finish(text: &mut TaggedText, texts: &mut Vec<TaggedText>) {
    if !text.words.is_empty() {
        texts.push(std::mem::take(text));
    }
}

/// A list of strings or numbers.
fn strings(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    value.as_array()?.iter().map(text).collect()
}
