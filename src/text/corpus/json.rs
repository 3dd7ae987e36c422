//! JSON lines: one object a line.

use serde_json::{Map, Value};

use super::{Column, Example, Sink, Source, clean_label, lines, table};
use crate::{Error, Result};

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let mut lines = lines::Lines::open(&source.path)?;
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let parsed: std::result::Result<Map<String, Value>, _> = serde_json::from_str(line);
        let malformed = |line, message| Error::MalformedRow {
            path: source.path.clone(),
            line,
            message,
        };
        let row = parsed.map_err(|e| {
            let message = format!("expected one JSON object a line: {e}");
            malformed(lines.line, message)
        })?;
        let Some(text) = field(source, &row, &source.text, "text", &table::TEXT_NAMES)? else {
            return Err(missing(source, &row, &source.text, "text"));
        };
        let Value::String(text) = text else {
            let message = format!("the text should be a JSON string, found {text}");
            return Err(malformed(lines.line, message));
        };
        let pair = match &source.pair {
            None => None,
            wanted => match field(source, &row, wanted, "pair", &[])? {
                None => return Err(missing(source, &row, wanted, "pair")),
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
                return Err(missing(source, &row, &source.label, "label"));
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
    }
    Ok(())
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

fn missing(
    source: &Source,
    row: &Map<String, Value>,
    wanted: &Option<Column>,
    role: &'static str,
) -> Error {
    let keys: Vec<&String> = row.keys().collect();
    table::column_missing(source, wanted, role, &keys)
}
