//! JSON lines: one object a line.

use serde_json::{Map, Value};

use super::{Column, Example, Sink, Source, clean_label, lines, table};
use crate::{Error, Result, bounded};

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let mut lines = lines::Lines::open(&source.path)?;
    let mut first = true;
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let parsed: serde_json::Result<Map<String, Value>> = bounded::json(line.as_bytes());
        let parsed = parsed.map_err(|e| expected_object(line, &e));
        let malformed = |line, message| Error::MalformedRow {
            path: source.path.clone(),
            line,
            message,
        };
        let row = parsed.map_err(|message| malformed(lines.line, message))?;
        // What the first row lacks, the file lacks.
        let lacks = |wanted: &Option<Column>, role, names: &[&str]| {
            if first {
                missing(source, &row, wanted, role)
            } else {
                malformed(lines.line, lacks(&row, wanted, role, names))
            }
        };
        let Some(text) = field(source, &row, &source.text, "text", &table::TEXT_NAMES)? else {
            return Err(lacks(&source.text, "text", &table::TEXT_NAMES));
        };
        let Value::String(text) = text else {
            let message = format!("the text should be a JSON string, found {text}");
            return Err(malformed(lines.line, message));
        };
        let pair = match &source.pair {
            None => None,
            wanted => match field(source, &row, wanted, "pair", &[])? {
                None => return Err(lacks(wanted, "pair", &[])),
                Some(Value::String(pair)) => Some(pair.clone()),
                Some(other) => {
                    let message = format!("the pair should be a JSON string, found {other}");
                    return Err(malformed(lines.line, message));
                }
            },
        };
        let label = if source.labelled {
            field(source, &row, &source.label, "label", &table::LABEL_NAMES)?
        } else {
            None
        };
        let label = match label {
            None if source.labelled && !source.label_optional => {
                return Err(lacks(&source.label, "label", &table::LABEL_NAMES));
            }
            None | Some(Value::Null) => None,
            Some(Value::Array(list)) if source.several => match several(list) {
                Ok(label) => Some(label),
                Err(message) => return Err(malformed(lines.line, message)),
            },
            Some(value) => match scalar(value) {
                Some(name) => clean_label(source, &name),
                None => {
                    let message = format!(
                        "the label should be a string, number or boolean, found {value}{}",
                        match value {
                            Value::Array(_) => "; a list of labels needs problem = \"multi_label\"",
                            _ => "",
                        }
                    );
                    return Err(malformed(lines.line, message));
                }
            },
        };
        sink(Example {
            text: text.clone(),
            pair,
            label,
            split: None,
        })?;
        first = false;
    }
    Ok(())
}

/// What is wrong with a line that is no object; where in it, not in the file.
pub(super) fn expected_object(line: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = text.rfind(" at line 1 column ");
    let what = place.map_or(&*text, |at| &text[..at]);
    let hint = if line.trim_start().starts_with('[') {
        "; of a list of objects, write each on a line of its own, as with `jq -c '.[]'`"
    } else if what.contains("surrogate") || what.contains("end of hex escape") {
        "; it has half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    } else {
        ""
    };
    let column = match error.column() {
        0 => String::new(),
        column => format!(", at byte {column} of the line"),
    };
    format!("expected one JSON object a line: {what}{column}{hint}")
}

/// The text of a label.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A list of labels as one, with commas between them; or what is wrong with it.
fn several(list: &[Value]) -> std::result::Result<String, String> {
    let mut names: Vec<String> = Vec::new();
    for value in list {
        let name = scalar(value).map(|name| name.trim().to_owned());
        let name = name.filter(|name| !name.is_empty() && !name.contains(','));
        let Some(name) = name else {
            return Err(format!(
                "a list of labels should hold strings without commas, or numbers, found {value}"
            ));
        };
        if names.contains(&name) {
            return Err(format!(
                "'{name}' stands twice in a list of labels; it should name those that apply, not \
                 say of each whether it does"
            ));
        }
        names.push(name);
    }
    Ok(names.join(","))
}

fn field<'a>(
    source: &Source,
    row: &'a Map<String, Value>,
    wanted: &Option<Column>,
    role: &'static str,
    names: &[&str],
) -> Result<Option<&'a Value>> {
    match wanted {
        Some(Column::Name(name)) => Ok(row.get(name)),
        Some(Column::Index(_)) => Err(missing(source, row, wanted, role)),
        None => Ok(names.iter().find_map(|name| row.get(*name))),
    }
}

/// What a row lacks that the first one had.
fn lacks(row: &Map<String, Value>, wanted: &Option<Column>, role: &str, names: &[&str]) -> String {
    let keys: Vec<&str> = row.keys().map(String::as_str).collect();
    let usual = names.iter().map(|name| format!("'{name}'"));
    let wanted = match wanted {
        Some(Column::Name(name)) => format!("'{name}'"),
        _ => usual.collect::<Vec<_>>().join(", "),
    };
    format!(
        "has no {role}: none of its keys ({}) is {wanted}",
        keys.join(", ")
    )
}

fn missing(
    source: &Source,
    row: &Map<String, Value>,
    wanted: &Option<Column>,
    role: &'static str,
) -> Error {
    let keys: Vec<&String> = row.keys().collect();
    table::column_missing(source, wanted, role, &keys)
}
