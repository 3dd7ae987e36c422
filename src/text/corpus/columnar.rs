//! Parquet files, row by row as objects: what Hugging Face's datasets and most tables of today come in.

use std::io::Read;
use std::path::Path;

use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Number, Value};

use super::objects::{Each, Object};
use crate::bounded;
use crate::{Error, Result};

/// The bytes with which every such file begins and ends.
const MARK: [u8; 4] = *b"PAR1";

/// Whether a file is one, by its first bytes.
pub(super) fn is_parquet(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = bounded::open(path)?;
    let read = file.take(MARK.len() as u64).read_to_end(&mut start);
    read.map_err(|e| Error::read(path, e))?;
    Ok(start == MARK)
}

/// Gives each row to `each`, with its number.
pub(super) fn read(path: &Path, each: &mut Each) -> Result<()> {
    let file = bounded::open(path)?;
    // The library panics at some of what is not as it should be.
    let guarded = |what: &mut dyn FnMut() -> parquet::errors::Result<Option<Row>>| {
        let result = bounded::guarded(what).map_err(|panic| damaged(path, &panic))?;
        result.map_err(|e| damaged(path, &e.to_string()))
    };
    let opened = bounded::guarded(|| SerializedFileReader::new(file));
    let opened = opened.map_err(|panic| damaged(path, &panic))?;
    let reader = opened.map_err(|e| damaged(path, &e.to_string()))?;
    check(path, reader.metadata())?;
    let mut rows = RowIter::from_file_into(Box::new(reader));
    let mut number = 0;
    while let Some(row) = guarded(&mut || rows.next().transpose())? {
        number += 1;
        let mut object = Object::new();
        let mut bytes = 0;
        for (name, field) in row.into_columns() {
            object.insert(name, value(field, &mut bytes));
        }
        if bytes > bounded::TEXT {
            return Err(bounded::too_long(path, bounded::TEXT));
        }
        each(number, object)?;
    }
    Ok(())
}

/// Refuses what melos does not decompress, and groups of rows that are larger than any memory.
fn check(path: &Path, metadata: &ParquetMetaData) -> Result<()> {
    for group in metadata.row_groups() {
        for column in group.columns() {
            let by = column.compression();
            if !matches!(
                by,
                Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)
            ) {
                let by = by.to_string().to_lowercase();
                let problem = format!(
                    "is compressed by {}, which melos does not read; write it again with compression=\"snappy\"",
                    by.split('(').next().unwrap_or(&by)
                );
                return Err(Error::folder(path, problem));
            }
            if column.uncompressed_size() > bounded::LARGE as i64 {
                return Err(bounded::too_long(path, bounded::LARGE));
            }
        }
    }
    Ok(())
}

fn damaged(path: &Path, why: &str) -> Error {
    let problem = format!("is no whole Parquet file: damaged or cut short ({why})");
    Error::folder(path, problem)
}

/// A field as JSON would have it; adds the length of its texts to `bytes`.
fn value(field: Field, bytes: &mut u64) -> Value {
    let text = |text: String, bytes: &mut u64| {
        *bytes += text.len() as u64;
        Value::String(text)
    };
    let float = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
    match field {
        Field::Null => Value::Null,
        Field::Bool(x) => x.into(),
        Field::Byte(x) => x.into(),
        Field::Short(x) => x.into(),
        Field::Int(x) => x.into(),
        Field::Long(x) => x.into(),
        Field::UByte(x) => x.into(),
        Field::UShort(x) => x.into(),
        Field::UInt(x) => x.into(),
        Field::ULong(x) => x.into(),
        Field::Float16(x) => float(x.into()),
        // As it is written, where an f32 of 0.1 is 0.1.
        Field::Float(x) => x.to_string().parse().map_or(Value::Null, float),
        Field::Double(x) => float(x),
        Field::Str(x) => text(x, bytes),
        // Older writers do not say that bytes are text.
        Field::Bytes(x) => text(String::from_utf8_lossy(x.data()).into_owned(), bytes),
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            let object: Object = fields.map(|(name, f)| (name, value(f, bytes))).collect();
            Value::Object(object)
        }
        Field::ListInternal(list) => {
            let items = list.elements().iter().cloned();
            Value::Array(items.map(|item| value(item, bytes)).collect())
        }
        other => text(other.to_string(), bytes),
    }
}
