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

/// Columns that are kept of a line of a word: CoNLL-U has ten, and a line of a text has any number.
const COLUMNS: usize = 64;

/// Reads a file of texts whose words have labels: `.jsonl` (`.ndjson`, `.json`, `.parquet`) holds an object for each text
/// with a list of `tokens` and one of `tags`; any other a word a line, its label in the last column, an empty
/// line after each text (CoNLL). The source's columns say otherwise.
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

/// Whether a file looks like texts that are cut in words, with labels or without.
///
/// # Errors
/// Those of reading its beginning.
pub fn is_cut(path: &Path) -> Result<bool> {
    let tagged = is_tagged(path)?;
    if tagged || !detect::holds_objects(path) {
        return Ok(tagged);
    }
    let keys = first_keys(path)?;
    let words = WORDS.iter().any(|name| keys.iter().any(|key| key == name));
    Ok(words && !keys.iter().any(|key| is_text(key)))
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

/// A text that is cut in words, with all else that its file says of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    /// The words.
    pub words: Vec<String>,
    /// What is said of the text.
    pub row: Vec<(String, Value)>,
    /// What is said of each word: the columns of its line, or the lists that are as long as that of the words.
    pub of_words: Vec<(String, Vec<Value>)>,
}

/// Reads the words of such a file and whatever stands beside them: labels are a column like any other, and may be
/// missing.
///
/// # Errors
/// As [`read_tagged`].
pub fn read_words(source: &Source) -> Result<Vec<Words>> {
    let mut texts = Vec::new();
    if detect::holds_objects(&source.path) {
        objects::read(&source.path, &mut |line, object| {
            let words = list(source, (line, &object), &source.text, "text", &WORDS)?;
            let usual = || WORDS.iter().find(|name| object.contains_key(**name));
            let key = match &source.text {
                Some(column) => column.to_string(),
                None => usual().map_or(String::new(), ToString::to_string),
            };
            let mut text = Words {
                words,
                ..Words::default()
            };
            for (name, value) in object.into_iter().filter(|(name, _)| *name != key) {
                match value {
                    Value::Array(values) if values.len() == text.words.len() => {
                        text.of_words.push((name, values));
                    }
                    value => text.row.push((name, value)),
                }
            }
            texts.extend((!text.words.is_empty()).then_some(text));
            Ok(())
        })?;
    } else {
        let word = number(source, &source.text, "text")?.unwrap_or(0);
        let mut text = Words::default();
        lines_of_words(source, &mut |line| {
            let Some((line, columns)) = line else {
                texts.extend((!text.words.is_empty()).then(|| std::mem::take(&mut text)));
                return Ok(());
            };
            let Some(own) = columns.get(word) else {
                let message = format!("expected a word in column {word}");
                return Err(malformed(&source.path, line, message));
            };
            let before = text.words.len();
            text.words.push((*own).to_owned());
            let kept = columns.iter().take(COLUMNS).enumerate();
            for (number, column) in kept.filter(|(n, _)| *n != word) {
                let name = number.to_string();
                let at = text.of_words.iter().position(|(other, _)| *other == name);
                let at = at.unwrap_or_else(|| {
                    text.of_words.push((name, vec![Value::Null; before]));
                    text.of_words.len() - 1
                });
                text.of_words[at].1.push((*column).into());
            }
            // A line may have fewer columns than those before it.
            let count = text.words.len();
            text.of_words
                .iter_mut()
                .for_each(|(_, values)| values.resize(count, Value::Null));
            Ok(())
        })?;
    }
    match texts.is_empty() {
        true => Err(Error::EmptyText {
            path: source.path.clone(),
        }),
        false => Ok(texts),
    }
}

fn read_json(source: &Source) -> Result<Vec<TaggedText>> {
    let mut texts = Vec::new();
    objects::read(&source.path, &mut |line, object| {
        let words = list(source, (line, &object), &source.text, "text", &WORDS)?;
        let tags = list(source, (line, &object), &source.label, "label", &TAGS)?;
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

/// The list of strings under a key of the object of a line: the one asked for, or one of usual `names`.
fn list(
    source: &Source,
    (line, object): (u64, &objects::Object),
    column: &Option<Column>,
    role: &'static str,
    names: &[&str],
) -> Result<Vec<String>> {
    let values = match column {
        Some(wanted) => {
            let keys: Vec<&String> = object.keys().collect();
            let missing = || column_missing(source, column, role, listed(&keys), "its key");
            Some(object.get(&wanted.to_string()).ok_or_else(missing)?)
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
}

fn read_conll(source: &Source) -> Result<Vec<TaggedText>> {
    let word = number(source, &source.text, "text")?.unwrap_or(0);
    let label = number(source, &source.label, "label")?;
    let (mut texts, mut text) = (Vec::new(), TaggedText::default());
    lines_of_words(source, &mut |line| {
        let Some((line, columns)) = line else {
            texts.extend((!text.words.is_empty()).then(|| std::mem::take(&mut text)));
            return Ok(());
        };
        let label = label.unwrap_or(columns.len() - 1);
        let (Some(word), Some(tag), true) = (columns.get(word), columns.get(label), word != label)
        else {
            let expected = match source.label {
                None => "expected a word and, in the last column, its label".into(),
                _ => format!("expected a word in column {word} and its label in column {label}"),
            };
            return Err(malformed(&source.path, line, expected));
        };
        text.words.push(word.to_string());
        text.tags.push(tag.to_string());
        Ok(())
    })?;
    Ok(texts)
}

/// The number of a column: those of CoNLL have no names.
fn number(source: &Source, column: &Option<Column>, role: &'static str) -> Result<Option<usize>> {
    match column {
        None => Ok(None),
        Some(Column::Index(number)) => Ok(Some(*number)),
        named => {
            let columns = "a word and its labels, without names".into();
            let by = "its number (from 0)";
            Err(column_missing(source, named, role, columns, by))
        }
    }
}

/// What becomes of the columns of a line, with its number; of nothing, where a text ends.
type EachLine<'a> = dyn FnMut(Option<(u64, &[&str])>) -> Result<()> + 'a;

fn lines_of_words(source: &Source, each: &mut EachLine) -> Result<()> {
    let mut lines = lines::Lines::open(&source.path)?;
    while let Some(line) = lines.next()?.map(|line| line.trim().to_owned()) {
        if line.is_empty() {
            each(None)?;
        } else if !line.starts_with("-DOCSTART-") {
            let columns: Vec<&str> = line.split_whitespace().collect();
            each(Some((lines.line, &columns)))?;
        }
    }
    each(None)
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
