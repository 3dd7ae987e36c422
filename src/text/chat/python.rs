//! What chat templates may call beside Jinja's own: as transformers defines it.

use std::io;

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Steps that a template may take, so that one that never ends does.
const FUEL: u64 = 100_000_000;

/// What stands around what `{% generation %}` holds: characters that no text has.
pub(super) const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// The environment that templates are rendered in.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build()?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_filter("melos_generation", |text: String| {
        let [begin, end] = MARKS;
        format!("{begin}{text}{end}")
    });
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_function("strftime_now", |format: String| {
        let now = jiff::fmt::strtime::format(&format, &Zoned::now());
        now.map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
    });
    Ok(environment)
}

/// Python's `json.dumps`, which escapes nothing for the web.
fn tojson(value: Serde<serde_json::Value>, options: Kwargs) -> Result<String, Error> {
    let mut value = value.0;
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if sorted == Some(true) {
        value.sort_all_objects();
    }
    let between = |at: usize, usual: &str| {
        let given = separators.as_ref().and_then(|s| s.get(at)).cloned();
        given.unwrap_or_else(|| usual.to_owned())
    };
    let text = match indent {
        None => written(
            &value,
            Separated {
                items: between(0, ", "),
                keys: between(1, ": "),
                lines: CompactFormatter,
            },
        ),
        Some(indent) => {
            let indent = " ".repeat(indent.min(64));
            written(&value, PrettyFormatter::with_indent(indent.as_bytes()))
        }
    };
    let text = text.map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    if ascii != Some(true) {
        return Ok(text);
    }
    let mut units = [0; 2];
    let escaped = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => (c.encode_utf16(&mut units).iter())
            .map(|unit| format!("\\u{unit:04x}"))
            .collect(),
    };
    Ok(text.chars().map(escaped).collect())
}

fn written(value: &serde_json::Value, format: impl Formatter) -> io::Result<String> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, format))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// All in one line, with what Python puts between items and after keys.
struct Separated {
    items: String,
    keys: String,
    lines: CompactFormatter,
}

impl Separated {
    fn next<W: ?Sized + io::Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        match first {
            true => Ok(()),
            false => writer.write_all(self.items.as_bytes()),
        }
    }
}

impl Formatter for Separated {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.keys.as_bytes())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.lines.end_object(writer)
    }
}
