//! A file of answers: a row each, as csv, tsv or JSON lines by the file's name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::atomic::NewFile;
use crate::error::{Error, Result};

/// Named values, in order.
pub(super) type Fields = Vec<(String, Value)>;

/// A file of rows that is being written; it appears when it is whole.
pub(super) struct Sheet {
    path: PathBuf,
    form: Form,
}

enum Form {
    Table {
        out: Box<csv::Writer<NewFile>>,
        columns: Vec<String>,
    },
    Lines(NewFile),
}

impl Sheet {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] for a name that says no format; those of writing.
    pub(super) fn begin(path: &Path) -> Result<Sheet> {
        let table = |separator| -> Result<Form> {
            let out = NewFile::begin(path).map_err(|e| Error::write(path, e))?;
            let out = csv::WriterBuilder::new()
                .delimiter(separator)
                .from_writer(out);
            let columns = Vec::new();
            let out = Box::new(out);
            Ok(Form::Table { out, columns })
        };
        let form = match ending(path).as_str() {
            "csv" => table(b',')?,
            "tsv" => table(b'\t')?,
            "jsonl" | "ndjson" | "json" => {
                Form::Lines(NewFile::begin(path).map_err(|e| Error::write(path, e))?)
            }
            _ => {
                let message = format!(
                    "'{}' does not say in which format to write; let it end in .csv, .tsv or .jsonl",
                    path.display()
                );
                return Err(Error::value("--out", message));
            }
        };
        let path = path.to_path_buf();
        Ok(Sheet { path, form })
    }

    /// Writes some rows. The columns of a table are all that the first of them have.
    ///
    /// # Errors
    /// [`Error::ConfigValue`] for a row with a column that the table lacks; those of writing.
    pub(super) fn write(&mut self, rows: Vec<Fields>) -> Result<()> {
        let Form::Table { out, columns } = &mut self.form else {
            return rows.into_iter().try_for_each(|row| self.line(row));
        };
        let failed = |e: csv::Error| Error::write(&self.path, e.into());
        if columns.is_empty() {
            for row in &rows {
                for (at, (name, _)) in row.iter().enumerate() {
                    if place(columns, at, name).is_none() {
                        columns.push(name.clone());
                    }
                }
            }
            out.write_record(&*columns).map_err(failed)?;
        }
        for row in rows {
            let mut record = vec![String::new(); columns.len()];
            for (at, (name, value)) in row.into_iter().enumerate() {
                let Some(place) = place(columns, at, &name) else {
                    let message = format!(
                        "a row has '{name}', which no row at the beginning has; write .jsonl, where each row \
                         has its own"
                    );
                    return Err(Error::value("--out", message));
                };
                record[place] = cell(value);
            }
            out.write_record(&record).map_err(failed)?;
        }
        Ok(())
    }

    fn line(&mut self, row: Fields) -> Result<()> {
        let Form::Lines(out) = &mut self.form else {
            return Ok(());
        };
        let object: Map<String, Value> = row.into_iter().collect();
        let written = serde_json::to_writer(&mut *out, &object).map_err(io::Error::from);
        let written = written.and_then(|()| out.write_all(b"\n"));
        written.map_err(|e| Error::write(&self.path, e))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn finish(self) -> Result<()> {
        let file = match self.form {
            Form::Table { out, .. } => out.into_inner().map_err(|e| e.into_error()),
            Form::Lines(out) => Ok(out),
        };
        let done = file.and_then(NewFile::commit);
        done.map_err(|e| Error::write(&self.path, e))
    }
}

/// The column of that name, which most likely stands `at` its own place.
fn place(columns: &[String], at: usize, name: &str) -> Option<usize> {
    match columns.get(at) {
        Some(column) if column == name => Some(at),
        _ => columns.iter().position(|column| column == name),
    }
}

/// How a file's name ends, in small letters.
pub(super) fn ending(path: &Path) -> String {
    let end = path.extension().unwrap_or_default();
    end.to_string_lossy().to_lowercase()
}

/// A value in a table.
fn cell(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A number with no more digits than it has.
pub(super) fn number(x: f32) -> Value {
    // The shortest text of an f32 is one of an f64 too.
    let digits: f64 = x.to_string().parse().unwrap_or(f64::from(x));
    digits.into()
}

/// Adds a value to a row; where its name is taken, under the next one that is free.
pub(super) fn add(row: &mut Fields, name: &str, value: Value) {
    let free = |name: &str| row.iter().all(|(taken, _)| taken != name);
    let again = (2..).map(|n| format!("{name}_{n}"));
    let name = std::iter::once(name.to_string())
        .chain(again)
        .find(|n| free(n));
    row.extend(name.map(|name| (name, value)));
}
