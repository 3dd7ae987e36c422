//! A csv or tsv of paths of pictures and their labels.

use std::path::{Path, PathBuf};

use super::sources::{Encoded, ImageSource, Item, Sink};
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::Column;
use crate::text::corpus::part_called;

/// Bytes of such a file.
const TABLE: u64 = 1 << 30;

/// Headers of the column of paths, in the order in which they are looked for.
const IMAGE: [&str; 10] = [
    "image",
    "image_path",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "img",
    "picture",
    "image_file",
];
/// Headers of the column of labels.
const LABEL: [&str; 6] = [
    "label",
    "class",
    "category",
    "target",
    "labels",
    "class_name",
];
/// Headers of the column of the parts of the data.
const SPLIT: [&str; 5] = ["split", "set", "subset", "part", "partition"];

/// The column's place: the one that is told, or the first of these headers.
fn place(
    headers: &[String],
    told: Option<&Column>,
    known: &[&str],
) -> std::result::Result<Option<usize>, String> {
    match told {
        Some(Column::Index(at)) if *at < headers.len() => Ok(Some(*at)),
        Some(Column::Name(name)) => match headers.iter().position(|h| h == name) {
            Some(at) => Ok(Some(at)),
            None => Err(format!(" '{name}'")),
        },
        Some(Column::Index(at)) => Err(format!(" {at}")),
        None => Ok(known.iter().find_map(|name| {
            headers
                .iter()
                .position(|header| header.to_lowercase() == **name)
        })),
    }
}

/// Whether a file is such a table by its name.
pub(super) fn is_table(path: &Path) -> bool {
    let end = path
        .extension()
        .and_then(|end| end.to_str())
        .unwrap_or_default();
    matches!(end.to_ascii_lowercase().as_str(), "csv" | "tsv")
}

/// Gives each row's picture to `sink`; paths are meant from the table's folder on.
pub(super) fn read(source: &ImageSource, sink: &mut Sink<'_>) -> Result<()> {
    let path = &source.path;
    let tab = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
    let text = bounded::read(path, TABLE)?;
    let mut table = csv::ReaderBuilder::new()
        .delimiter(if tab { b'\t' } else { b',' })
        .from_reader(&text[..]);
    let wrong = |e: csv::Error| Error::MalformedRow {
        path: path.clone(),
        line: e.position().map_or(1, csv::Position::line),
        message: format!("{e}; quote what has a comma, and give every row as many fields"),
    };
    let headers = table.headers().map_err(wrong)?.iter();
    let headers: Vec<String> = headers
        .map(|header| header.trim_start_matches('\u{feff}').trim().to_string())
        .collect();
    let missing = |role, wanted: String| Error::ColumnMissing {
        path: path.clone(),
        role,
        wanted,
        available: headers.join(", "),
        by: "its name in the first row, or its number from 0",
    };
    let column = |role, told, known: &[&str]| {
        let found = place(&headers, told, known);
        found
            .and_then(|at| at.ok_or_else(String::new))
            .map_err(|wanted| missing(role, wanted))
    };
    let image = column("image", source.image.as_ref(), &IMAGE)?;
    let label = match source.labelled {
        true => Some(column("label", source.label.as_ref(), &LABEL)?),
        false => None,
    };
    let split = place(&headers, None, &SPLIT).unwrap_or_default();
    let folder = path.parent().unwrap_or(Path::new(""));
    for row in table.records() {
        let row = row.map_err(wrong)?;
        let line = row.position().map_or(1, csv::Position::line);
        let field = |at: usize| row.get(at).map(str::trim).unwrap_or_default();
        let name = field(image);
        if name.is_empty() {
            return Err(Error::MalformedRow {
                path: path.clone(),
                line,
                message: format!("names no picture in column '{}'", headers[image]),
            });
        }
        let file: PathBuf = folder.join(name);
        if !file.is_file() {
            return Err(Error::MalformedRow {
                path: path.clone(),
                line,
                message: format!(
                    "names the picture '{name}', which is not there; paths are meant from the folder of the table on"
                ),
            });
        }
        let part = split.map(|at| field(at).to_lowercase());
        sink(Item {
            name: file.display().to_string(),
            label: (label.map(field))
                .filter(|label| !label.is_empty())
                .map(String::from),
            split: part.and_then(|part| part_called(&part)),
            encoded: Encoded::File(file),
        })?;
    }
    Ok(())
}
