//! What a file is read as, before it is read.

use std::path::PathBuf;

use serde::Serialize;

use super::columns::{Columns, Offer};
use super::{Format, Source, json, lines, table, tagged, trec};
use crate::Result;

/// What a source is read as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Described {
    /// The file or folder.
    pub path: PathBuf,
    /// Its format, as `--format` names it; `conll` for a word a line.
    pub format: String,
    /// What its text is read as; of a file alone.
    pub encoding: Option<&'static str>,
    /// What separates the fields of a table.
    pub separator: Option<char>,
    /// What the first row of a table is.
    pub header: Option<HeaderRow>,
    /// The columns or keys that there are; of a table without header their numbers.
    pub columns: Vec<String>,
    /// The column or key that is taken for the text.
    pub text: Option<String>,
    /// The one of the second text.
    pub pair: Option<String>,
    /// The one of the label.
    pub label: Option<String>,
    /// Whether nothing but the content says which is the text.
    pub guessed: bool,
}

impl Described {
    /// With the columns that were chosen.
    pub(super) fn take(&mut self, offer: &Offer, columns: &Columns) {
        let name = |column: usize| offer.name(column);
        self.columns = (0..offer.names.len()).map(name).collect();
        self.text = Some(name(columns.text));
        self.pair = columns.pair.map(name);
        self.label = columns.label.map(name);
        self.guessed = columns.guessed;
    }
}

/// What the first row of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderRow {
    /// A row as the others.
    None,
    /// A header with a name that is known or was asked for.
    Known,
    /// A header, by the look of it.
    Guessed,
}

/// Says what a source is read as; `by_word`, as texts whose words have labels.
///
/// # Errors
/// Those of reading its first rows.
pub fn describe(source: &Source, by_word: bool) -> Result<Described> {
    let mut described = Described {
        path: source.path.clone(),
        ..Described::default()
    };
    if source.path.is_file() {
        described.encoding = Some(lines::encoding(&source.path)?);
    }
    if by_word {
        tagged::describe(source, &mut described)?;
        return Ok(described);
    }
    let format = source.resolve_format()?;
    described.format = format.name();
    match format {
        Format::Csv => table::describe(source, b',', &mut described)?,
        Format::Tsv => table::describe(source, b'\t', &mut described)?,
        Format::Trec => trec::describe(source, &mut described)?,
        Format::Jsonl => json::describe(source, &mut described)?,
        Format::Parquet => {
            described.encoding = None;
            json::describe(source, &mut described)?;
        }
        // Their encoding is that of each file in them.
        Format::Imdb
        | Format::RottenTomatoes
        | Format::Subjectivity
        | Format::Newsgroups
        | Format::Folder
        | Format::Classes
        | Format::Tables => {
            described.encoding = None;
        }
        _ => {}
    }
    Ok(described)
}
