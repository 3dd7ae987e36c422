//! Texts that a model is asked about: one on the command line, lines of standard input, or files.

use std::io::{BufRead, stdin};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::bounded;
use crate::error::{Error, Result};
use crate::text::corpus::{self, Lines};
use crate::text::{Column, Example, Format, Source};

/// Texts that are read before the model sees them: those of like length share its batches.
const AT_ONCE: usize = 1024;

/// What becomes of texts.
pub(super) type Each<'a> = dyn FnMut(Vec<Example>) -> Result<()> + 'a;

#[derive(Debug, Args)]
pub struct Input {
    /// A text; or files or folders of texts (or pictures), as `melos train` reads them, one after the other;
    /// `-` or nothing: one text per line from standard input.
    #[arg(value_name = "TEXT|PATH")]
    input: Vec<String>,
    /// Files or folders of texts: csv, tsv, jsonl, txt, whichever `melos train` reads.
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with = "input")]
    data: Vec<PathBuf>,
    /// Column (by name or number) or key of the text [default: found by its name].
    #[arg(long, value_name = "COLUMN", visible_alias = "text")]
    text_column: Option<Column>,
}

/// Where texts come from.
pub(super) enum From<'a> {
    /// The command line.
    Text(&'a str),
    /// Lines.
    Stdin,
    /// Files and folders.
    Paths(Vec<&'a Path>),
}

impl Input {
    /// Where the texts come from.
    ///
    /// # Errors
    /// [`Error::FileMissing`] for what looks like a file and is none; [`Error::ConfigValue`] for several of
    /// which one is no file.
    pub(super) fn from(&self) -> Result<From<'_>> {
        if !self.data.is_empty() {
            return Ok(From::Paths(
                self.data.iter().map(PathBuf::as_path).collect(),
            ));
        }
        let is_path = |text: &String| is_there(Path::new(text));
        match self.input.iter().find(|text| !is_path(text)) {
            None if self.input.is_empty() => Ok(From::Stdin),
            None => Ok(From::Paths(self.input.iter().map(Path::new).collect())),
            // Most likely the name is misspelt.
            Some(text) if is_name(text) => Err(Error::FileMissing { path: text.into() }),
            Some(text) if self.input.len() > 1 => {
                let message = format!(
                    "'{text}' is no file; several are files or folders: quote a text of several words, or write a \
                     text a line to standard input"
                );
                Err(Error::value("TEXT|PATH", message))
            }
            Some(text) if text == "-" => Ok(From::Stdin),
            Some(text) => Ok(From::Text(text)),
        }
    }

    /// Whether it says where the text stands.
    pub(super) fn has_column(&self) -> bool {
        self.text_column.is_some()
    }

    /// How a file's texts are read.
    pub(super) fn source(&self, path: &Path) -> Source {
        Source {
            text: self.text_column.clone(),
            ..Source::asked(path)
        }
    }

    /// Hands on all texts with their rows, in order and in portions, so that a long file needs no more
    /// memory than a short one. What is no text ends it, once those before have been answered. Of a file
    /// of a table or JSON, `pair` is the second text, or one of a usual name, if they are `pairs`.
    ///
    /// # Errors
    /// Those of reading and of `each`.
    pub(super) fn each(&self, pair: Option<&Column>, pairs: bool, each: &mut Each) -> Result<()> {
        match self.from()? {
            From::Text(text) => each(vec![alone(text.to_string())]),
            From::Stdin => each_of_stdin(&mut |lines| each(lines.into_iter().map(alone).collect())),
            From::Paths(paths) => paths
                .into_iter()
                .try_for_each(|path| self.each_of(path, pair, pairs, each)),
        }
    }

    /// The same of one file or folder.
    ///
    /// # Errors
    /// As [`each`](Self::each).
    pub(super) fn each_of(
        &self,
        path: &Path,
        pair: Option<&Column>,
        pairs: bool,
        each: &mut Each,
    ) -> Result<()> {
        let source = Source {
            pair: pair.cloned(),
            pairs: Some(pairs),
            ..self.source(path)
        };
        let (mut texts, mut lines, mut count) = (Vec::new(), 0, 0);
        let read = corpus::read(&source, &mut |example| {
            lines = example.line.unwrap_or(lines);
            count += 1;
            texts.push(example);
            match texts.len() {
                AT_ONCE => each(std::mem::take(&mut texts)),
                _ => Ok(()),
            }
        });
        if !texts.is_empty() {
            each(texts)?;
        }
        read?;
        if source.resolve_format()? == Format::Txt && lines > count {
            let (empty, path) = (lines - count, path.display());
            log::warn!("{empty} empty lines of {path} are no texts, and have no answer");
        }
        Ok(())
    }
}

/// A text with no row but itself.
fn alone(text: String) -> Example {
    Example {
        row: vec![("text".into(), text.as_str().into())],
        text,
        ..Example::default()
    }
}

/// Hands on the lines of standard input, empty ones too, in portions.
pub(super) fn each_of_stdin(each: &mut dyn FnMut(Vec<String>) -> Result<()>) -> Result<()> {
    each_line(stdin().lock(), Path::new("standard input"), each)
}

fn each_line(
    input: impl BufRead,
    name: &Path,
    each: &mut dyn FnMut(Vec<String>) -> Result<()>,
) -> Result<()> {
    let mut lines = Lines::of(input, name)?;
    loop {
        let mut texts = Vec::new();
        let wrong = loop {
            match lines.next() {
                Ok(Some(line)) => texts.push(line.to_owned()),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            if texts.len() == AT_ONCE {
                break None;
            }
        };
        let ends = texts.len() < AT_ONCE;
        if !texts.is_empty() {
            each(texts)?;
        }
        match wrong {
            Some(error) => return Err(error),
            None if ends => return Ok(()),
            None => {}
        }
    }
}

/// Whether there is a file or folder of this name, or what only looks like one.
fn is_there(path: &Path) -> bool {
    path.exists() || bounded::special(path).is_some()
}

/// Whether an argument looks like the name of a file of texts rather than like a text.
fn is_name(text: &str) -> bool {
    let end = text.rsplit_once('.').map(|(_, end)| end.to_lowercase());
    let is_text = matches!(
        end.as_deref(),
        Some("txt" | "text" | "csv" | "tsv" | "json" | "jsonl" | "conll")
    );
    is_text && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_batches_and_bad_ones_are_named() {
        let mut sizes = Vec::new();
        let text = "ein Film\r\n".repeat(AT_ONCE + 1);
        let name = Path::new("somewhere");
        each_line(text.as_bytes(), name, &mut |t| {
            assert!(t.iter().all(|x| x == "ein Film"));
            sizes.push(t.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(sizes, [AT_ONCE, 1]);
        let mut answered = Vec::new();
        let error = each_line(&b"gut\nsch\xf6n\nnie\n"[..], name, &mut |t| {
            answered.extend(t);
            Ok(())
        })
        .unwrap_err();
        assert_eq!(answered, ["gut"]);
        assert!(matches!(error, Error::NotUtf8 { line: 2, .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("somewhere"), "{error}");
    }

    #[test]
    fn marks_and_encodings_are_no_part_of_a_text() {
        let text = "\u{feff}ein Film\n\nzwei 走\n";
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [text.as_bytes(), &wide] {
            let mut found = Vec::new();
            each_line(bytes, Path::new("x"), &mut |t| {
                found.extend(t);
                Ok(())
            })
            .unwrap();
            assert_eq!(found, ["ein Film", "", "zwei 走"]);
        }
    }
}
