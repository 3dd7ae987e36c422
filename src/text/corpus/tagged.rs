//! Texts whose words have labels: CoNLL columns, or JSON lines of words and tags.
//!
//! ```text
//! CoNLL   a word a line, its label in the last column; an empty line ends a text;
//!         lines that begin with -DOCSTART- or #  are left out
//! jsonl   {"tokens": ["He", "left"], "tags": ["O", "O"]}; also "words", and "ner_tags" or "labels"
//! ```

use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use crate::text::labelled::TaggedText;
use crate::{Error, Result};

/// Reads a file of labelled words: JSON lines where its name ends in `.jsonl` or `.json`, else CoNLL.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`]; [`Error::MalformedRow`] for a line that is neither;
/// [`Error::EmptyText`].
pub fn read_tagged(path: &Path) -> Result<Vec<TaggedText>> {
    let file = std::fs::File::open(path).map_err(|e| Error::read(path, e))?;
    let is_json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("jsonl") || e.eq_ignore_ascii_case("json"));
    let mut texts = Vec::new();
    let mut open = TaggedText::default();
    for (number, line) in (1..).zip(std::io::BufReader::new(file).lines()) {
        let line = line.map_err(|e| Error::read(path, e))?;
        let wrong = |message: &str| Error::MalformedRow {
            path: path.to_path_buf(),
            line: number,
            message: message.into(),
        };
        if is_json {
            if !line.trim().is_empty() {
                texts.push(json_text(&line).map_err(|message| wrong(&message))?);
            }
            continue;
        }
        let mut columns = line.split_whitespace();
        match (columns.next(), columns.next_back()) {
            (None, _) => {
                if !open.words.is_empty() {
                    texts.push(std::mem::take(&mut open));
                }
            }
            (Some(first), _) if first == "-DOCSTART-" || first == "#" => {}
            (Some(word), Some(tag)) => {
                open.words.push(word.into());
                open.tags.push(tag.into());
            }
            (Some(_), None) => {
                return Err(wrong("has one column; expected a word and its label"));
            }
        }
    }
    if !open.words.is_empty() {
        texts.push(open);
    }
    if texts.is_empty() {
        return Err(Error::EmptyText {
            path: path.to_path_buf(),
        });
    }
    Ok(texts)
}

fn json_text(line: &str) -> Result<TaggedText, String> {
    let value: Value = serde_json::from_str(line).map_err(|e| format!("is not JSON: {e}"))?;
    let list = |keys: &[&str]| -> Result<Vec<String>, String> {
        let items = keys.iter().find_map(|key| value.get(key)?.as_array());
        let items = items.ok_or_else(|| format!("has no list {}", keys.join(" or ")))?;
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(format!("has {other} where a word or label should stand")),
        };
        items.iter().map(text).collect()
    };
    let words = list(&["tokens", "words"])?;
    let tags = list(&["tags", "ner_tags", "labels"])?;
    match words.len() == tags.len() {
        true => Ok(TaggedText { words, tags }),
        false => Err(format!(
            "has {} words and {} labels",
            words.len(),
            tags.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<TaggedText>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_tagged(&path)
    }

    #[test]
    fn both_forms_give_the_same_texts() {
        let conll = "-DOCSTART- -X- O\n\nMelos NNP B-PER\nran VBD O\n\nHome NN O\n";
        let json = "{\"tokens\": [\"Melos\", \"ran\"], \"tags\": [\"B-PER\", \"O\"]}\n\
                    {\"words\": [\"Home\"], \"labels\": [\"O\"]}\n";
        let texts = read("a.conll", conll).unwrap();
        assert_eq!(texts, read("a.jsonl", json).unwrap());
        assert_eq!(texts[0].words, ["Melos", "ran"]);
        assert_eq!(texts[0].tags, ["B-PER", "O"]);
    }

    #[test]
    fn a_word_without_a_label_is_named_by_its_line() {
        let error = read("a.txt", "Melos B-PER\nran\n").unwrap_err().to_string();
        assert!(error.contains("line 2: has one column"), "{error}");
        let error = read("a.jsonl", "{\"tokens\": [\"a\"], \"tags\": []}\n").unwrap_err();
        assert!(
            error.to_string().contains("1 words and 0 labels"),
            "{error}"
        );
        assert!(matches!(read("a.txt", "\n"), Err(Error::EmptyText { .. })));
    }
}
