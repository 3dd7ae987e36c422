//! JSON: an object for each text, one a line or all in one list.

use serde_json::Value;

use super::columns::{Columns, Names, Offer, listed};
use super::describe::Described;
use super::objects::{self, Object, kind, malformed};
use super::{Example, LabelKind, Sink, Source};
use crate::Result;

/// Objects by which the keys are chosen.
const SAMPLE: usize = 100;

/// The keys that are read.
struct Keys {
    columns: Columns,
    text: String,
    pair: Option<String>,
    label: Option<String>,
}

/// What the objects are read as: see [`Described`].
pub(super) fn describe(source: &Source, described: &mut Described) -> Result<()> {
    let mut first: Vec<(u64, Object)> = Vec::new();
    // The rest is read when it is asked for.
    let read = objects::read(&source.path, &mut |line, object| {
        first.push((line, object));
        match first.len() {
            SAMPLE => Err(malformed(&source.path, 0, "enough")),
            _ => Ok(()),
        }
    });
    if first.len() < SAMPLE {
        read?;
    }
    if !first.is_empty() {
        offered(source, &first, |offer| {
            described.take(offer, &offer.choose()?);
            Ok(())
        })?;
    }
    Ok(())
}

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let mut first: Vec<(u64, Object)> = Vec::new();
    let mut keys = None;
    objects::read(&source.path, &mut |line, object| {
        if let Some(keys) = &keys {
            return sink(example(source, keys, line, object)?);
        }
        first.push((line, object));
        if first.len() == SAMPLE {
            keys = Some(begin(source, std::mem::take(&mut first), sink)?);
        }
        Ok(())
    })?;
    if !first.is_empty() {
        begin(source, first, sink)?;
    }
    Ok(())
}

/// Chooses the keys by the first objects, and passes these on.
fn begin(source: &Source, first: Vec<(u64, Object)>, sink: &mut Sink) -> Result<Keys> {
    let keys = choose(source, &first)?;
    for (line, object) in first {
        sink(example(source, &keys, line, object)?)?;
    }
    Ok(keys)
}

fn choose(source: &Source, first: &[(u64, Object)]) -> Result<Keys> {
    offered(source, first, |offer| {
        let columns = offer.choose()?;
        let name = |column: usize| offer.names[column].to_string();
        Ok(Keys {
            text: name(columns.text),
            pair: columns.pair.map(name),
            label: columns.label.map(name),
            columns,
        })
    })
}

/// The keys of the first objects and what stands under them, to choose from.
fn offered<T>(
    source: &Source,
    first: &[(u64, Object)],
    choose: impl FnOnce(&Offer) -> Result<T>,
) -> Result<T> {
    let mut names: Vec<&str> = Vec::new();
    for key in first.iter().flat_map(|(_, object)| object.keys()) {
        if !names.contains(&key.as_str()) {
            names.push(key);
        }
    }
    // What is no string is no text.
    let field = |object: &Object, name: &str| match object.get(name) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let row = |(_, object): &(u64, Object)| names.iter().map(|n| field(object, n)).collect();
    let rows: Vec<Vec<String>> = first.iter().map(row).collect();
    choose(&Offer {
        source,
        names: &names,
        are: Names::Keys,
        rows: &rows,
    })
}

fn example(source: &Source, keys: &Keys, line: u64, mut object: Object) -> Result<Example> {
    let wrong = |message: String| malformed(&source.path, line, message);
    let lacks = |object: &Object, role: &str, key: &str| {
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let keys = listed(&keys);
        wrong(format!(
            "has no {role}: none of its keys ({keys}) is '{key}'"
        ))
    };
    let row = match source.rows {
        true => object.clone().into_iter().collect(),
        false => Vec::new(),
    };
    let mut text = |role: &str, key: &str| match object.get_mut(key).map(Value::take) {
        None => Err(lacks(&object, role, key)),
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            let found = kind(&other);
            let hint = match other {
                Value::Array(_) | Value::Object(_) => "; write an object of its own for each text",
                _ => "",
            };
            let what = format!("the {role} ('{key}') should be a JSON string");
            Err(wrong(format!("{what}, found {found}{hint}")))
        }
    };
    Ok(Example {
        text: text("text", &keys.text)?,
        pair: (keys.pair.as_ref())
            .map(|key| text("pair", key))
            .transpose()?,
        label: match &keys.label {
            _ if source.rows => None,
            None => None,
            Some(key) => match object.get(key) {
                None if !source.label_optional => return Err(lacks(&object, "label", key)),
                None => None,
                Some(value) => label(source, &keys.columns, value).map_err(wrong)?,
            },
        },
        split: None,
        line: Some(line),
        row,
    })
}

/// The label that a value says; or what is wrong with it.
fn label(source: &Source, columns: &Columns, value: &Value) -> Result<Option<String>, String> {
    let several = source.label_kind == LabelKind::Several;
    match value {
        Value::Null => Ok(None),
        Value::Array(list) if several => joined(list).map(Some),
        value => match scalar(value) {
            Some(name) => columns.clean(source, &name),
            None => Err(format!(
                "the label should be a string, number or boolean, found {}{}",
                kind(value),
                match value {
                    Value::Array(_) => {
                        "; a list of labels needs problem = \"multi_label\" (--set stage.NAME.problem=multi_label)"
                    }
                    _ => "",
                }
            )),
        },
    }
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
fn joined(list: &[Value]) -> Result<String, String> {
    let mut names: Vec<String> = Vec::new();
    for value in list {
        let name = scalar(value).map(|name| name.trim().to_owned());
        let name = name.filter(|name| !name.is_empty() && !name.contains(','));
        let Some(name) = name else {
            return Err(format!(
                "a list of labels should hold strings without commas, or numbers, found {}",
                kind(value)
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
