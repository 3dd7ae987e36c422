//! The objects of a file: of JSON, one a line or all in one list, or the rows of a Parquet file.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::{columnar, lines};
use crate::bounded::{self, Allowance, Metered};
use crate::{Error, Result};

/// An object.
pub(super) type Object = Map<String, Value>;

/// What becomes of an object that begins on this line.
pub(super) type Each<'a> = dyn FnMut(u64, Object) -> Result<()> + 'a;

/// Gives each object of a file to `each`, with the line on which it begins; a row, with its number.
pub(super) fn read(path: &Path, each: &mut Each) -> Result<()> {
    if columnar::is_parquet(path)? {
        return columnar::read(path, each);
    }
    let mut reader = lines::open(path)?;
    let start = reader.fill_buf().map_err(|e| Error::read(path, e))?;
    let mark = "\u{feff}".as_bytes();
    let marked = start.starts_with(mark);
    let text = if marked { &start[mark.len()..] } else { start };
    if text.trim_ascii_start().starts_with(b"[") {
        reader.consume(if marked { mark.len() } else { 0 });
        return read_list(path, reader, each);
    }
    let mut lines = lines::Lines::open(path)?;
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let parsed = bounded::json(line.as_bytes()).map_err(|e| wrong_line(line, &e));
        let object = parsed.map_err(|message| malformed(path, lines.line, message))?;
        each(lines.line, object)?;
    }
    Ok(())
}

/// An error of a row.
pub(super) fn malformed(path: &Path, line: u64, message: impl Into<String>) -> Error {
    Error::MalformedRow {
        path: path.to_owned(),
        line,
        message: message.into(),
    }
}

/// What a value is, where it should be something else; a long one would hide the message.
pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => format!("{value}"),
        Value::Number(_) => format!("the number {value}"),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// The parser's words, without its place and without what it quotes of the file.
fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = text.rfind(" at line ");
    let what = place.map_or(&*text, |at| &text[..at]);
    match what.strip_prefix("invalid type: ") {
        None => what.to_owned(),
        Some(found) => format!(
            "found {}",
            match found.split([' ', ',']).next() {
                Some("sequence") => "a list",
                Some("string") => "a string",
                Some("integer" | "floating") => "a number",
                Some("boolean") => "true or false",
                _ => "null",
            }
        ),
    }
}

/// What is behind a complaint.
fn hint(what: &str, text: &str) -> &'static str {
    if what.contains("surrogate") || what.contains("end of hex escape") {
        "; it has half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    } else if ["NaN", "Infinity"].iter().any(|word| text.contains(word)) {
        "; JSON has neither NaN nor Infinity"
    } else {
        ""
    }
}

/// What is wrong with a line that is no object; where in it, not in the file.
fn wrong_line(line: &str, error: &serde_json::Error) -> String {
    let what = complaint(error);
    let hint = match error.classify() {
        Category::Eof if line.trim() == "{" => {
            "; an object may run over several lines only within a list, as [{…}, {…}]"
        }
        _ => hint(&what, line),
    };
    let column = match error.column() {
        0 => String::new(),
        column => format!(", at byte {column} of the line"),
    };
    format!("expected one JSON object a line: {what}{column}{hint}")
}

/// Counts the lines that are read through it: a parser takes byte by byte.
struct Counted<R> {
    inner: R,
    line: Rc<Cell<u64>>,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let ends = buffer[..count].iter().filter(|&&b| b == b'\n').count();
        self.line.set(self.line.get() + ends as u64);
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

fn read_list(path: &Path, reader: impl BufRead, each: &mut Each) -> Result<()> {
    let (line, bytes) = (Rc::new(Cell::new(1)), Rc::new(Cell::new(0)));
    let allowance = Allowance::default();
    allowance.set(bounded::TEXT);
    let counted = Counted {
        // A value takes dozens of bytes in memory, however short it is.
        inner: Metered::new(reader, &allowance, Some((b',', 64))),
        line: line.clone(),
        bytes: bytes.clone(),
    };
    let mut parser = serde_json::Deserializer::from_reader(counted);
    let mut failed = None;
    let list = List {
        line: &line,
        allowance: &allowance,
        each,
        failed: &mut failed,
    };
    let read = parser.deserialize_seq(list).and_then(|()| parser.end());
    let Err(error) = read else {
        return Ok(());
    };
    if let Some(failed) = failed {
        return Err(failed);
    }
    let what = complaint(&error);
    let at = (error.line() as u64).max(1);
    Err(match error.classify() {
        Category::Io => Error::read(path, error.into()),
        _ if what.contains("invalid unicode") => lines::not_utf8(path, at, bytes.get(), &[]),
        Category::Eof => malformed(path, at, "ends within its list: damaged or cut short"),
        _ => {
            let hint = hint(&what, "");
            let column = error.column();
            let message =
                format!("expected one list of JSON objects: {what}, at byte {column}{hint}");
            malformed(path, at, message)
        }
    })
}

/// A list that is read object by object.
struct List<'a, 'b> {
    line: &'a Cell<u64>,
    /// What an object may still take.
    allowance: &'a Allowance,
    each: &'a mut Each<'b>,
    /// What `each` said, which a parser's error cannot hold.
    failed: &'a mut Option<Error>,
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(&mut self)?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        let line = self.line.get();
        self.allowance.set(bounded::TEXT);
        let object = Object::deserialize(parser)?;
        (self.each)(line, object).map_err(|error| {
            *self.failed = Some(error);
            D::Error::custom("refused")
        })
    }
}
