//! The rows of a file as objects, whatever is in them.

use serde_json::Map;

use super::objects::{self, Each};
use super::{Column, Format, Source, table, unknown_format};
use crate::Result;

/// Gives each row of a table, JSON or Parquet file to `each` as an object, with the line on which it begins
/// (of Parquet: its number). A table's first row is its header.
///
/// # Errors
/// [`crate::Error::UnknownFormat`] for another file; those of reading and of `each`.
pub fn rows(source: &Source, each: &mut Each) -> Result<()> {
    let format = source.resolve_format()?;
    let separator = match format {
        Format::Jsonl | Format::Parquet => return objects::read(&source.path, each),
        Format::Csv => b',',
        Format::Tsv => b'\t',
        _ => {
            let name = format.name();
            let message = format!(
                "'{name}' has no rows with keys; expected json, jsonl, csv, tsv or parquet"
            );
            return Err(unknown_format(&source.path, message));
        }
    };
    let table = Source {
        text: Some(Column::Index(0)),
        pair: None,
        pairs: Some(false),
        label: None,
        label_optional: true,
        header: Some(true),
        rows: true,
        ..source.clone()
    };
    table::read(&table, separator, &mut |example| {
        let row: Map<_, _> = example.row.into_iter().collect();
        each(example.line.unwrap_or_default(), row)
    })
}
