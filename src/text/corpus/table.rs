//! Comma and tab separated values.

use csv::{ByteRecord, ErrorKind, ReaderBuilder};

use super::{Column, Example, Sink, Source, clean_label, lines};
use crate::{Error, Result};

/// Headers and keys taken for the text, in this order of preference.
pub(super) const TEXT_NAMES: [&str; 8] = [
    "text", "review", "sentence", "content", "document", "body", "comment", "ref",
];
/// Headers and keys taken for the label.
pub(super) const LABEL_NAMES: [&str; 6] = [
    "label",
    "class",
    "sentiment",
    "polarity",
    "target",
    "category",
];

/// Which columns to read; settled by the first row.
struct Columns {
    text: usize,
    pair: Option<usize>,
    label: Option<usize>,
}

pub(super) fn read(source: &Source, delimiter: u8, sink: &mut Sink) -> Result<()> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .has_headers(false)
        .from_reader(lines::open(&source.path)?);
    let mut row = ByteRecord::new();
    let mut columns = None;
    let mut first: Option<FirstRow> = None;
    while reader
        .read_byte_record(&mut row)
        .map_err(|e| row_error(source, e))?
    {
        let place = row.position().cloned().unwrap_or_else(csv::Position::new);
        let fields = row
            .iter()
            .map(|field| {
                std::str::from_utf8(field).map_err(|_| Error::NotUtf8 {
                    path: source.path.clone(),
                    line: place.line(),
                    offset: place.byte(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let header = has_header(source, &fields);
                let settled = columns.insert(settle(source, &fields, header)?);
                if header {
                    continue;
                }
                settled
            }
        };
        let label = columns
            .label
            .and_then(|label| clean_label(source, fields[label]));
        match &mut first {
            Some(first) => first.compare(&label),
            None if source.header.is_none() => first = FirstRow::new(&fields, &label),
            None => {}
        }
        sink(Example {
            text: fields[columns.text].to_owned(),
            pair: columns.pair.map(|pair| fields[pair].to_owned()),
            label,
            split: None,
        })?;
    }
    match first {
        Some(first) if first.is_header() => {
            Err(column_missing(source, &None, "label", &first.fields))
        }
        _ => Ok(()),
    }
}

/// A first row taken for data. Where its label is a word that no other row has, it was a header
/// of unknown names: a class of its own would be learned from it.
struct FirstRow {
    fields: Vec<String>,
    label: String,
    rows: usize,
    repeated: bool,
}

impl FirstRow {
    fn new(fields: &[&str], label: &Option<String>) -> Option<FirstRow> {
        let label = label
            .clone()
            .filter(|label| !label.is_empty() && label.parse::<f64>().is_err())?;
        Some(FirstRow {
            fields: fields.iter().map(ToString::to_string).collect(),
            label,
            rows: 1,
            repeated: false,
        })
    }

    fn compare(&mut self, label: &Option<String>) {
        self.rows += 1;
        self.repeated |= label.as_ref() == Some(&self.label);
    }

    /// A file of a few rows may well have one of a class.
    fn is_header(&self) -> bool {
        self.rows > 10 && !self.repeated
    }
}

fn row_error(source: &Source, error: csv::Error) -> Error {
    let path = source.path.clone();
    let line = error.position().map_or(0, csv::Position::line);
    let text = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(e) => Error::read(path, e),
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Error::MalformedRow {
            path,
            line,
            message: format!(
                "expected {expected_len} fields as in the first row, found {len}; quote fields \
                 that hold the separator or a line break"
            ),
        },
        _ => Error::MalformedRow {
            path,
            line,
            message: text,
        },
    }
}

fn has_header(source: &Source, first: &[&str]) -> bool {
    let named = |column: &Option<Column>| matches!(column, Some(Column::Name(_)));
    let known = |field: &&str| {
        let name = field.trim().to_lowercase();
        TEXT_NAMES.contains(&&*name) || LABEL_NAMES.contains(&&*name)
    };
    source.header.unwrap_or_else(|| {
        [&source.text, &source.pair, &source.label]
            .into_iter()
            .any(named)
            || first.iter().any(known)
    })
}

fn settle(source: &Source, first: &[&str], header: bool) -> Result<Columns> {
    let by_name = |names: &[&str]| {
        let is = |name: &&str| {
            first
                .iter()
                .position(|f| f.trim().eq_ignore_ascii_case(name))
        };
        if header {
            names.iter().find_map(is)
        } else {
            None
        }
    };
    let wanted = |column: &Option<Column>, role| match column {
        None => Ok(None),
        Some(Column::Index(index)) if *index < first.len() => Ok(Some(*index)),
        Some(Column::Name(name)) if first.iter().any(|f| f.trim() == name) => {
            Ok(first.iter().position(|f| f.trim() == name))
        }
        Some(_) => Err(column_missing(source, column, role, first)),
    };
    let mut label = if source.labelled {
        wanted(&source.label, "label")?.or_else(|| by_name(&LABEL_NAMES))
    } else {
        None
    };
    let pair = wanted(&source.pair, "pair")?;
    let longest = || {
        let taken = [label, pair];
        let others = (0..first.len()).filter(|&column| !taken.contains(&Some(column)));
        others
            .rev()
            .max_by_key(|&column| first[column].chars().count())
    };
    let text = wanted(&source.text, "text")?
        .or_else(|| by_name(&TEXT_NAMES))
        .or_else(|| {
            if header && first.len() > 2 {
                None
            } else {
                longest()
            }
        })
        .ok_or_else(|| column_missing(source, &None, "text", first))?;
    if source.labelled && label.is_none() && !source.label_optional {
        if first.len() != 2 || pair.is_some() {
            return Err(column_missing(source, &None, "label", first));
        }
        label = Some(1 - text);
    }
    Ok(Columns { text, pair, label })
}

pub(super) fn column_missing<S: AsRef<str>>(
    source: &Source,
    wanted: &Option<Column>,
    role: &'static str,
    available: &[S],
) -> Error {
    // A long text in a file without header would hide the message.
    let short = |name: &S| name.as_ref().chars().take(24).collect::<String>();
    Error::ColumnMissing {
        path: source.path.clone(),
        role,
        wanted: match wanted {
            None => String::new(),
            Some(Column::Index(index)) => format!(" number {index}"),
            Some(Column::Name(name)) => format!(" '{name}'"),
        },
        available: available.iter().map(short).collect::<Vec<_>>().join(", "),
    }
}
