//! Comma and tab separated values.

use csv::{ByteRecord, ErrorKind};

use super::columns::{Columns, Names, Offer, is_known, short};
use super::describe::{Described, HeaderRow};
use super::guess::Places;
use super::objects::malformed;
use super::{Column, Example, Sink, Source, guess, lines};
use crate::bounded::{self, Allowance, Metered};
use crate::{Error, Result};

/// Bytes that are kept of a field beside its own.
const FIELD: u64 = 32;
const TOO_LONG: &str =
    "begins a row that is longer than any text; is a quotation mark missing at the end of a field?";

/// What a table is read as: see [`Described`].
pub(super) fn describe(source: &Source, own: u8, described: &mut Described) -> Result<()> {
    let table = guess::open(source, own)?;
    described.separator = Some(table.separator as char);
    let Some(first) = table.rows.first() else {
        return Ok(());
    };
    let names: Vec<&str> = first.iter().map(String::as_str).collect();
    let are = header(source, &table.rows);
    described.header = Some(match are {
        Names::None => HeaderRow::None,
        Names::Guessed => HeaderRow::Guessed,
        Names::Header | Names::Keys => HeaderRow::Known,
    });
    let rows = below(are, &table.rows);
    let offer = Offer {
        source,
        names: &names,
        are,
        rows,
    };
    described.take(&offer, &offer.choose()?);
    Ok(())
}

/// Whether a table has no header and three columns, of which the first numbers a class: as the sets of Zhang
/// et al. ("Character-level convolutional networks", NIPS 2015) come.
///
/// # Errors
/// Those of reading its first rows.
pub fn is_numbered(source: &Source) -> Result<bool> {
    let rows = guess::open(source, b',')?.rows;
    let fits = |row: &Vec<String>| row.len() == 3 && row[0].parse::<u32>().is_ok();
    Ok(!rows.is_empty() && rows.iter().all(fits))
}

/// Reads a table; `own` is what separates its fields if it keeps to its name.
pub(super) fn read(source: &Source, own: u8, sink: &mut Sink) -> Result<()> {
    let table = guess::open(source, own)?;
    let allowance = Allowance::default();
    allowance.set(bounded::TEXT);
    let heavy = Some((table.separator, FIELD));
    let reader = Metered::new(table.reader, &allowance, heavy);
    let mut parser = guess::parser(table.separator, own);
    // Where nothing is quoted, a few texts may be broken in two by a line break of their own.
    let mut broken = guess::unquoted(table.separator, own).then(Broken::default);
    let mut reader = parser.flexible(broken.is_some()).from_reader(reader);
    let are = header(source, &table.rows);
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
        let line = table.places.line(&place);
        if let Some(broken) = &mut broken
            && !broken.fits(fields.len(), line)
        {
            continue;
        }
        let begins = columns.is_none();
        let columns: &Columns = match &columns {
            Some(columns) => columns,
            None => {
                let offer = Offer {
                    source,
                    names: &fields,
                    are,
                    rows: below(are, &table.rows),
                };
                let chosen = columns.insert(offer.choose()?);
                if source.rows {
                    names = names_of(&fields, are);
                }
                if are != Names::None {
                    continue;
                }
                chosen
            }
        };
        let label = match columns.label.filter(|_| !source.rows) {
            None => None,
            Some(at) => (columns.clean(source, fields[at]))
                .map_err(|message| malformed(&source.path, line, message))?,
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
            line: Some(line),
            row: (names.iter().zip(&fields))
                .map(|(name, field)| (name.clone(), (*field).into()))
                .collect(),
        })?;
    }
    if let Some(broken) = broken {
        broken.check(source)?;
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
            let fields: Vec<&str> = first.fields.iter().map(String::as_str).collect();
            let offer = Offer {
                source,
                names: &fields,
                are: Names::None,
                rows: below(are, &table.rows),
            };
            Err(offer.missing(&None, "label"))
        }
        _ => Ok(()),
    }
}

/// What the columns are called: their headers, or their numbers; each has a name of its own.
fn names_of(first: &[&str], are: Names) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(first.len());
    for (column, field) in first.iter().enumerate() {
        let name = match are {
            Names::None => column.to_string(),
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
            message: unequal(expected_len, len),
        },
        _ => Error::MalformedRow {
            path,
            line,
            message: text,
        },
    }
}

fn unequal(expected: u64, found: u64) -> String {
    format!(
        "expected {expected} fields as in the first row, found {found}; quote fields that hold the \
         separator or a line break"
    )
}

/// Rows that have more or fewer fields than the first, where nothing is quoted.
#[derive(Default)]
struct Broken {
    expected: Option<usize>,
    rows: u64,
    broken: u64,
    /// The first: its line and its number of fields.
    first: Option<(u64, usize)>,
}

impl Broken {
    /// One in so many may be left out.
    const FEW: u64 = 1000;

    fn fits(&mut self, fields: usize, line: u64) -> bool {
        self.rows += 1;
        let fits = *self.expected.get_or_insert(fields) == fields;
        if !fits {
            self.broken += 1;
            self.first.get_or_insert((line, fields));
        }
        fits
    }

    fn check(self, source: &Source) -> Result<()> {
        let (Some((line, found)), Some(expected)) = (self.first, self.expected) else {
            return Ok(());
        };
        let (broken, rows) = (self.broken, self.rows);
        if broken * Self::FEW > rows {
            let message = unequal(expected as u64, found as u64);
            return Err(malformed(&source.path, line, message));
        }
        let said = format!(
            "left out {broken} of {rows} rows, which do not have the {expected} fields of the first; the first of \
             them: line {line}"
        );
        guess::say(&source.path, log::Level::Warn, said);
        Ok(())
    }
}

/// What the first row is.
fn header(source: &Source, rows: &[Vec<String>]) -> Names {
    let named = |column: &Option<Column>| matches!(column, Some(Column::Name(_)));
    let columns = [&source.text, &source.pair, &source.label];
    let first = rows.first().map(Vec::as_slice).unwrap_or_default();
    match source.header {
        Some(true) => Names::Header,
        Some(false) => Names::None,
        None if columns.into_iter().any(named) => Names::Header,
        None if first.iter().any(|field| is_known(source, field)) => Names::Header,
        None if guess::is_header(rows) => Names::Guessed,
        None => Names::None,
    }
}

/// The rows below the header, where there is one.
fn below(are: Names, rows: &[Vec<String>]) -> &[Vec<String>] {
    let header = usize::from(are != Names::None && !rows.is_empty());
    &rows[header..]
}
