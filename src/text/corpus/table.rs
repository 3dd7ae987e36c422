//! Comma and tab separated values.

use csv::{ByteRecord, ErrorKind};

use super::describe::{Described, HeaderRow};
use super::guess::Places;
use super::objects::malformed;
use super::{Column, Example, Sink, Source, clean_label, guess, lines};
use crate::bounded::{self, Allowance, Metered};
use crate::{Error, Result};

/// Headers and keys taken for the text, in this order of preference.
pub(super) const TEXT_NAMES: [&str; 8] = [
    "text", "review", "sentence", "content", "document", "body", "comment", "ref",
];
/// Headers and keys taken for the label.
pub(super) const LABEL_NAMES: [&str; 7] = [
    "label",
    "labels",
    "class",
    "sentiment",
    "polarity",
    "target",
    "category",
];

/// What names a column.
const BY: &str = "its header or number (from 0)";
/// Bytes that are kept of a field beside its own.
const FIELD: u64 = 32;
const TOO_LONG: &str =
    "begins a row that is longer than any text; is a quotation mark missing at the end of a field?";

/// Which columns to read; settled by the first row.
struct Columns {
    text: usize,
    pair: Option<usize>,
    label: Option<usize>,
    /// Whether nothing but the content says which is the text.
    guessed: bool,
}

/// What a table is read as: see [`Described`].
pub(super) fn describe(source: &Source, own: u8, described: &mut Described) -> Result<()> {
    let table = guess::open(source, own)?;
    described.separator = Some(table.separator as char);
    let Some(first) = table.rows.first() else {
        return Ok(());
    };
    let fields: Vec<&str> = first.iter().map(String::as_str).collect();
    let header = header(source, &table.rows);
    let columns = settle(source, &fields, header, &table.rows)?;
    described.header = Some(match header {
        Header::None => HeaderRow::None,
        Header::Named => HeaderRow::Known,
        Header::Guessed => HeaderRow::Guessed,
    });
    described.columns = match header {
        Header::None => (0..first.len()).map(|column| column.to_string()).collect(),
        _ => first.iter().map(short).collect(),
    };
    let name = |column: usize| described.columns[column].clone();
    described.text = Some(name(columns.text));
    described.pair = columns.pair.map(name);
    described.label = columns.label.map(name);
    described.guessed = columns.guessed;
    Ok(())
}

/// Reads a table; `own` is what separates its fields if it keeps to its name.
pub(super) fn read(source: &Source, own: u8, sink: &mut Sink) -> Result<()> {
    let table = guess::open(source, own)?;
    let allowance = Allowance::default();
    allowance.set(bounded::TEXT);
    let heavy = Some((table.separator, FIELD));
    let reader = Metered::new(table.reader, &allowance, heavy);
    let mut reader = guess::parser(table.separator, own).from_reader(reader);
    let header = header(source, &table.rows);
    let mut row = ByteRecord::new();
    let mut columns = None;
    let mut names: Vec<String> = Vec::new();
    let mut first: Option<FirstRow> = None;
    while reader
        .read_byte_record(&mut row)
        .map_err(|e| match (&e, allowance.is_used_up()) {
            (_, false) => row_error(source, table.places, e),
            (_, true) => Error::MalformedRow {
                path: source.path.clone(),
                line: table.places.line(reader.position()),
                message: TOO_LONG.into(),
            },
        })?
    {
        allowance.set(bounded::TEXT);
        let place = row.position().cloned().unwrap_or_else(csv::Position::new);
        let fields = row
            .iter()
            .map(|field| {
                std::str::from_utf8(field).map_err(|_| {
                    let line = table.places.line(&place);
                    lines::not_utf8(&source.path, line, place.byte(), field)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let begins = columns.is_none();
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let settled = columns.insert(settle(source, &fields, header, &table.rows)?);
                if source.rows {
                    names = names_of(&fields, header);
                }
                if header != Header::None {
                    continue;
                }
                settled
            }
        };
        let label = match columns
            .label
            .filter(|_| !source.rows)
            .map(|label| clean_label(source, fields[label]))
        {
            None => None,
            Some(label) => label
                .map_err(|message| malformed(&source.path, table.places.line(&place), message))?,
        };
        match &mut first {
            Some(first) => first.compare(&label),
            None if begins && source.header.is_none() => first = FirstRow::new(&fields, &label),
            None => {}
        }
        sink(Example {
            text: fields[columns.text].to_owned(),
            pair: columns.pair.map(|pair| fields[pair].to_owned()),
            label,
            split: None,
            line: Some(table.places.line(&place)),
            row: (names.iter().zip(&fields))
                .map(|(name, field)| (name.clone(), (*field).into()))
                .collect(),
        })?;
    }
    match first {
        Some(first) if first.is_header() && source.label.is_some() => {
            let label = short(&first.label);
            let message = format!(
                "looks like a header, as no other row has its label '{label}'; name the columns by their \
                 headers, not by their numbers"
            );
            Err(malformed(&source.path, 1, message))
        }
        Some(first) if first.is_header() => {
            Err(column_missing(source, &None, "label", &first.fields, BY))
        }
        _ => Ok(()),
    }
}

/// What the columns are called: their headers, or their numbers; each has a name of its own.
fn names_of(first: &[&str], header: Header) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(first.len());
    for (column, field) in first.iter().enumerate() {
        let name = match header {
            Header::None => column.to_string(),
            _ => field.trim().to_string(),
        };
        names.push(match names.contains(&name) {
            true => format!("{name}_{column}"),
            false => name,
        });
    }
    names
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

fn row_error(source: &Source, places: Places, error: csv::Error) -> Error {
    let path = source.path.clone();
    let line = error.position().map_or(0, |row| places.line(row));
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

/// What the first row is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    /// A row as the others.
    None,
    /// A header with a name that is known, or that should be one.
    Named,
    /// A header, by the look of it.
    Guessed,
}

/// Whether a field of the first row is a name that was asked for, or a usual one.
pub(super) fn is_known(source: &Source, field: &str) -> bool {
    let name = field.trim();
    let usual = name.to_lowercase();
    TEXT_NAMES.contains(&&*usual)
        || LABEL_NAMES.contains(&&*usual)
        || [&source.text, &source.pair, &source.label]
            .into_iter()
            .any(|column| matches!(column, Some(Column::Name(wanted)) if wanted == name))
}

fn header(source: &Source, rows: &[Vec<String>]) -> Header {
    let named = |column: &Option<Column>| matches!(column, Some(Column::Name(_)));
    let columns = [&source.text, &source.pair, &source.label];
    let first = rows.first().map(Vec::as_slice).unwrap_or_default();
    match source.header {
        Some(true) => Header::Named,
        Some(false) => Header::None,
        None if columns.into_iter().any(named) => Header::Named,
        None if first.iter().any(|field| is_known(source, field)) => Header::Named,
        None if guess::is_header(rows) => Header::Guessed,
        None => Header::None,
    }
}

fn settle(
    source: &Source,
    first: &[&str],
    header: Header,
    rows: &[Vec<String>],
) -> Result<Columns> {
    let by_name = |names: &[&str]| {
        let is = |name: &&str| {
            first
                .iter()
                .position(|f| f.trim().eq_ignore_ascii_case(name))
        };
        match header {
            Header::None => None,
            _ => names.iter().find_map(is),
        }
    };
    let wanted = |column: &Option<Column>, role| match column {
        None => Ok(None),
        Some(Column::Index(index)) if *index < first.len() => Ok(Some(*index)),
        Some(Column::Name(name)) if first.iter().any(|f| f.trim() == name) => {
            Ok(first.iter().position(|f| f.trim() == name))
        }
        Some(_) => Err(column_missing(source, column, role, first, BY)),
    };
    let mut label = if source.labelled {
        wanted(&source.label, "label")?.or_else(|| by_name(&LABEL_NAMES))
    } else {
        None
    };
    let pair = wanted(&source.pair, "pair")?;
    let needs_label = source.labelled && !source.label_optional && label.is_none();
    if needs_label && (header == Header::Guessed || first.len() != 2 || pair.is_some()) {
        return Err(column_missing(source, &None, "label", first, BY));
    }
    let data = &rows[usize::from(header != Header::None && !rows.is_empty())..];
    let by_content = || {
        // Rows may have more fields than the first.
        let others = |column| {
            column < first.len() && ![label, pair, by_name(&LABEL_NAMES)].contains(&Some(column))
        };
        let column = guess::text_column(data, others)?;
        if first.len() > 1 {
            let column = match header {
                Header::None => format!("number {column} (from 0)"),
                _ => format!("'{}'", short(first[column])),
            };
            let columns = listed(first);
            guess::say(
                &source.path,
                format!("took column {column} for the text, of the columns {columns}"),
            );
        }
        Some(column)
    };
    let told = wanted(&source.text, "text")?.or_else(|| by_name(&TEXT_NAMES));
    let guessed = told.is_none() && first.len() > 1;
    let text = told
        .or_else(by_content)
        .ok_or_else(|| column_missing(source, &None, "text", first, BY))?;
    if header == Header::Guessed {
        let names = listed(first);
        guess::say(
            &source.path,
            format!("took its first row for a header: {names}"),
        );
    }
    if needs_label {
        label = Some(1 - text);
    }
    Ok(Columns {
        text,
        pair,
        label,
        guessed,
    })
}

/// A long text in a file without header would hide the message.
fn short(name: impl AsRef<str>) -> String {
    name.as_ref().chars().take(24).collect()
}

/// Names with commas between them.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(short).collect();
    names.join(", ")
}

/// The error of a column (or key) that is not there; `by` is what names one.
pub(super) fn column_missing<S: AsRef<str>>(
    source: &Source,
    wanted: &Option<Column>,
    role: &'static str,
    available: &[S],
    by: &'static str,
) -> Error {
    Error::ColumnMissing {
        path: source.path.clone(),
        role,
        wanted: match wanted {
            None => String::new(),
            Some(Column::Index(index)) => format!(" number {index}"),
            Some(Column::Name(name)) => format!(" '{name}'"),
        },
        available: listed(available),
        by,
    }
}
