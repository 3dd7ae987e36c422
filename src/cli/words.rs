//! A file of words with their labels.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sheet::{self, Fields, Sheet};
use crate::atomic::NewFile;
use crate::error::{Error, Result};
use crate::inference::Word;
use crate::text::corpus;

/// The columns of a text of words: its own, and those of each word.
pub(super) struct Own {
    row: Fields,
    of_words: Vec<(String, Vec<Value>)>,
    /// Where each word begins, in characters.
    starts: Vec<usize>,
}

impl Own {
    /// Those of a text whose words are yet to be cut, but for the text itself.
    pub(super) fn of_text(mut row: Fields) -> Own {
        row.retain(|(name, _)| name != "text");
        let (of_words, starts) = (Vec::new(), Vec::new());
        Own {
            row,
            of_words,
            starts,
        }
    }

    /// Those of a text that is cut in words.
    pub(super) fn of_words(text: corpus::Words) -> Own {
        let mut next = 0;
        let start = |word: &String| {
            let start = next;
            next += word.chars().count() + 1;
            start
        };
        Own {
            starts: text.words.iter().map(start).collect(),
            row: text.row,
            of_words: text.of_words,
        }
    }
}

/// Words and labels that are being written; the file appears when it is whole.
pub(super) struct Words {
    path: PathBuf,
    texts: u64,
    form: Form,
}

enum Form {
    /// A row for each word, with the number of its text, from 0, and the other columns of that.
    Rows(Sheet),
    /// A word and its label a line, an empty line after each text.
    Conll(NewFile),
}

impl Words {
    /// Begins a file: CoNLL's for .conll and .tsv, else a sheet.
    ///
    /// # Errors
    /// As [`Sheet::begin`].
    pub(super) fn begin(path: &Path) -> Result<Words> {
        let form = match sheet::ending(path).as_str() {
            "conll" | "tsv" => {
                Form::Conll(NewFile::begin(path).map_err(|e| Error::write(path, e))?)
            }
            _ => Form::Rows(Sheet::begin(path)?),
        };
        let (path, texts) = (path.to_path_buf(), 0);
        Ok(Words { path, texts, form })
    }

    /// Writes the words of some texts, with their own columns.
    ///
    /// # Errors
    /// As [`Sheet::write`].
    pub(super) fn write(&mut self, own: Vec<Own>, texts: Vec<Vec<Word>>) -> Result<()> {
        for (own, words) in own.into_iter().zip(texts) {
            match &mut self.form {
                Form::Conll(out) => {
                    let line = |w: &Word| format!("{}\t{}\n", w.word, w.label);
                    let text = words.iter().map(line).collect::<String>() + "\n";
                    let written = out.write_all(text.as_bytes());
                    written.map_err(|e| Error::write(&self.path, e))?;
                }
                Form::Rows(sheet) => {
                    let number = self.texts;
                    sheet.write(words.into_iter().map(|w| row(number, &own, w)).collect())?;
                }
            }
            self.texts += 1;
        }
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn finish(self) -> Result<()> {
        match self.form {
            Form::Rows(sheet) => sheet.finish(),
            Form::Conll(out) => out.commit().map_err(|e| Error::write(&self.path, e)),
        }
    }
}

/// The row of a word of text `number`, with the columns of both.
fn row(number: u64, own: &Own, word: Word) -> Fields {
    let mut row: Fields = vec![("row".into(), number.into())];
    for (name, value) in &own.row {
        sheet::add(&mut row, name, value.clone());
    }
    // A word of which a tokeniser leaves nothing is not among those that are answered.
    let at = own.starts.binary_search(&word.start).ok();
    for (name, values) in &own.of_words {
        let value = at.and_then(|at| values.get(at)).cloned();
        sheet::add(&mut row, name, value.unwrap_or_default());
    }
    sheet::add(&mut row, "word", word.word.into());
    sheet::add(&mut row, "start", word.start.into());
    sheet::add(&mut row, "end", word.end.into());
    sheet::add(&mut row, "prediction", word.label.into());
    sheet::add(&mut row, "probability", sheet::number(word.score));
    row
}
