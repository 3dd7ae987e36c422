//! What a table leaves unsaid, told from its first rows: what separates its fields, whether the first
//! row is a header, which column is text.

use std::collections::{BTreeSet, HashSet};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{LazyLock, Mutex};

use csv::{Position, ReaderBuilder};

use super::{Source, columns, lines};
use crate::{Error, Result};

/// Bytes that are looked at.
const SAMPLE: u64 = 1 << 16;
/// Rows without which a row of short words may be a text as the others are.
const ROWS: usize = 3;
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A table: its separator, its first rows, and all of it to be read.
pub(super) struct Table {
    pub(super) separator: u8,
    pub(super) places: Places,
    pub(super) rows: Vec<Vec<String>>,
    pub(super) reader: Box<dyn Read>,
}

/// Where rows begin in a file.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// Lines before the table.
    skipped: u64,
    /// Whether its lines end in CR LF.
    windows: bool,
}

impl Places {
    /// The line of a row, from 1.
    pub(super) fn line(self, row: &Position) -> u64 {
        // The parser sees the LF of a CR LF only when it reads on.
        row.line() + self.skipped + u64::from(self.windows && row.byte() > 0)
    }
}

/// How a table with this separator is parsed: only tabs leave quotation marks as they are, and only
/// in a file that is named for them.
pub(super) fn parser(separator: u8, own: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder
        .delimiter(separator)
        .quoting(!unquoted(separator, own))
        .has_headers(false);
    builder
}

/// Whether a quotation mark is a character like any other.
pub(super) fn unquoted(separator: u8, own: u8) -> bool {
    own == b'\t' && separator == b'\t'
}

/// Opens a table whose name says that `own` separates its fields.
pub(super) fn open(source: &Source, own: u8) -> Result<Table> {
    let mut reader = lines::open(&source.path)?;
    let mut sample = Vec::new();
    let read = reader.by_ref().take(SAMPLE).read_to_end(&mut sample);
    read.map_err(|e| Error::read(&source.path, e))?;
    let told = told_separator(&sample);
    if let Some((_, length)) = told {
        sample.drain(..length);
    }
    let separator = told.map_or_else(|| separator(source, &sample, own), |(told, _)| told);
    if separator != own {
        log::info!(
            "'{}': '{}' separates its fields",
            source.path.display(),
            (separator as char).escape_default()
        );
    }
    Ok(Table {
        separator,
        places: Places {
            skipped: u64::from(told.is_some()),
            windows: windows(&sample),
        },
        rows: rows(&sample, separator, own),
        reader: Box::new(Cursor::new(sample).chain(reader)),
    })
}

/// Whether the first line ends in CR LF.
fn windows(sample: &[u8]) -> bool {
    let end = sample.iter().position(|byte| *byte == b'\n');
    end.is_some_and(|end| sample[..end].ends_with(b"\r"))
}

/// A first line `sep=;`, as Excel understands it: the separator, and the length of the line.
fn told_separator(sample: &[u8]) -> Option<(u8, usize)> {
    let mark = "\u{feff}".as_bytes();
    let text = sample.strip_prefix(mark).unwrap_or(sample);
    let rest = text.strip_prefix(b"sep=")?;
    let (&separator, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
    let rest = rest.strip_prefix(b"\n")?;
    (separator.is_ascii() && separator != b'"').then(|| (separator, sample.len() - rest.len()))
}

/// The rows that lie in the sample whole, or the only one.
fn rows(sample: &[u8], separator: u8, own: u8) -> Vec<Vec<String>> {
    let mut parser = parser(separator, own);
    let parser = parser.flexible(true).from_reader(sample);
    let fields = |row: csv::ByteRecord| {
        let text = |field: &[u8]| String::from_utf8_lossy(field).trim().to_owned();
        row.iter().map(text).collect()
    };
    let read = parser.into_byte_records().map_while(|row| row.ok());
    let mut rows: Vec<Vec<String>> = read.map(fields).collect();
    if sample.len() as u64 == SAMPLE && rows.len() > 1 {
        rows.pop();
    }
    rows
}

/// The separator that the name says, unless the first rows say that it is another.
fn separator(source: &Source, sample: &[u8], own: u8) -> u8 {
    let named = |separator: u8| {
        let rows = rows(sample, separator, own);
        let first = rows.first().map(Vec::as_slice).unwrap_or_default();
        first.iter().any(|field| columns::is_known(source, field)) && first.len() > 1
    };
    let fits = |separator: u8| {
        let rows = rows(sample, separator, own);
        let fields = rows.first().map_or(0, Vec::len);
        fields > 1 && rows.len() > 1 && rows.iter().all(|row| row.len() == fields)
    };
    let own_column = rows(sample, own, own).first().is_some_and(
        // The header of a single column.
        |first| first.len() == 1 && columns::is_known(source, &first[0]),
    );
    if own_column || named(own) || fits(own) {
        return own;
    }
    let others = SEPARATORS.into_iter().filter(|other| *other != own);
    let mut others = others.filter(|&other| named(other) || fits(other));
    others.next().unwrap_or(own)
}

/// Whether the first row, of unknown words, names the columns: where it alone is no number, or a
/// word where all others are longer texts.
pub(super) fn is_header(rows: &[Vec<String>]) -> bool {
    let Some((first, rest)) = rows.split_first() else {
        return false;
    };
    let names: Vec<&String> = first.iter().filter(|name| !name.is_empty()).collect();
    let distinct: HashSet<&&String> = names.iter().collect();
    if distinct.len() < names.len() || names.iter().any(|name| is_number(name)) {
        return false;
    }
    let column = |at: usize| {
        let values = rest.iter().filter_map(move |row| row.get(at));
        values.filter(|value| !value.is_empty())
    };
    let mut named = first.iter().enumerate().filter(|(_, n)| !n.is_empty());
    if named
        .clone()
        .any(|(at, name)| column(at).any(|v| v == name))
    {
        return false;
    }
    named.any(|(at, name)| {
        let longer = |value: &String| {
            value.contains(char::is_whitespace) || value.chars().count() >= 3 * name.chars().count()
        };
        let numbers = column(at).next().is_some() && column(at).all(|v| is_number(v));
        let word = !name.contains(char::is_whitespace);
        numbers || word && column(at).count() >= ROWS && column(at).all(longer)
    })
}

/// A number, a date, a time.
fn is_number(text: &str) -> bool {
    let digits = text.contains(|c: char| c.is_ascii_digit());
    digits && (text.parse::<f64>().is_ok() || !text.contains(char::is_alphabetic))
}

/// The column with the most text, of those that `may` be it; none where there is no text.
pub(super) fn text_column(rows: &[Vec<String>], may: impl Fn(usize) -> bool) -> Option<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let letters = |at: usize| {
        // What comes again is a label, whatever its length.
        let values: HashSet<&String> = rows.iter().filter_map(|row| row.get(at)).collect();
        let letters: usize = values.iter().map(|value| letters(value)).sum();
        letters * values.len() * values.len()
    };
    let counted = (0..columns)
        .filter(|&at| may(at))
        .map(|at| (at, letters(at)));
    let most = counted.rev().max_by_key(|(_, letters)| *letters);
    most.filter(|(_, letters)| *letters > 0).map(|(at, _)| at)
}

/// Letters of words; numbers, dates, addresses and whatever identifies a row are no words.
fn letters(text: &str) -> usize {
    let word = |word: &&str| {
        let identifies = word.bytes().any(|b| b.is_ascii_digit() || b == b'@');
        !(word.is_ascii() && identifies || word.contains("://"))
    };
    let words = text.split_whitespace().filter(word);
    words
        .flat_map(str::chars)
        .filter(|c| c.is_alphabetic())
        .count()
}

/// Says once what was taken: a table is read by what trains a tokeniser and then by what uses it.
pub(super) fn say(path: &Path, level: log::Level, guess: String) {
    static SAID: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);
    let message = format!("'{}': {guess}", path.display());
    let mut said = SAID.lock().unwrap_or_else(|e| e.into_inner());
    if said.insert(message.clone()) {
        log::log!(level, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        super::rows(text.as_bytes(), b',', b',')
    }

    #[test]
    fn separators() {
        let source = Source::new("a.csv");
        for (text, own, expected) in [
            ("text,label\na;b,1\n", b',', b','),
            ("text;label\na, b;1\n", b',', b';'),
            ("quote|verdict\nfine, very|1\npoor|0\n", b',', b'|'),
            ("good film\tpos\nbad, really, film\tneg\n", b',', b'\t'),
            ("text,label\na,1\n", b'\t', b','),
            // One column of texts, of which only some have semicolons.
            ("text\nto be; or not\n", b',', b','),
            ("to be; or not\nto be\n", b',', b','),
            ("one row; of text\n", b',', b','),
            // A row that is wrong does not make the others another table's.
            ("text,label\ngood; but,1\nbad\n", b',', b','),
            ("text;label\ngood;1\nbad\n", b',', b';'),
            ("\"a;b\";\"1\"\n\"c\nd;\";\"2\"\n", b',', b';'),
        ] {
            let found = separator(&source, text.as_bytes(), own);
            assert_eq!(found as char, expected as char, "{text:?}");
        }
    }

    #[test]
    fn headers() {
        for text in [
            "number,quote\n1,good film\n",
            "day,at,quote\n2026-01-02,10:30,good film\n,11:20,bad film\n",
            "v1,v2,,\nham,see you then,,\nspam,you have won,,\nham,not now dear,,\n",
            "発言,x\nメロスは激怒した,1\n",
            "発言,x\nメロスは激怒した,a\n走れ走れメロス,b\nメロスは寝た,a\n",
        ] {
            assert!(is_header(&rows(text)), "{text}");
        }
        for text in [
            "good film,pos\nbad film,neg\n",
            "good,pos\nbad film,neg\nno good film,pos\nnice play,neg\n",
            "1,good\n2,bad\n",
            "good film indeed,a\nbad film,b\nworst film,c\nfair film,d\n",
            "a,a\nsome text,1\n",
            "good film,pos\nseen 3 times,neg\n",
        ] {
            assert!(!is_header(&rows(text)), "{text}");
        }
    }

    #[test]
    fn the_text_is_what_has_the_most_words() {
        for (text, expected) in [
            ("1000,so it is\n1001,never\n", Some(1)),
            (
                "very_positive_indeed,nice\nvery_positive_indeed,fine\nvery_positive_indeed,grand and good\n",
                Some(1),
            ),
            (
                "a_rather_long_label,so\nanother_longer_label,no\nanother_longer_label,good\nanother_longer_label,dull\n",
                Some(1),
            ),
            (
                "it is,https://example.org/some/long/address/here\n",
                Some(0),
            ),
            ("f00dfeedcafe1234abcd,yes\n", Some(1)),
            ("someone.with.a.long.name@example.org,yes\n", Some(1)),
            ("2026年に走った,abc\n", Some(0)),
            ("1,2\n3,4\n", None),
        ] {
            assert_eq!(text_column(&rows(text), |_| true), expected, "{text}");
        }
        let both = rows("long text here,text\n");
        assert_eq!(text_column(&both, |at| at != 0), Some(1));
    }
}
