//! A file of words with their labels.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::sheet::{self, Fields, Sheet};
use crate::atomic::NewFile;
use crate::error::{Error, Result};
use crate::inference::Word;

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

    /// Writes the words of some texts, whose own columns are `rows`.
    ///
    /// # Errors
    /// As [`Sheet::write`].
    pub(super) fn write(&mut self, rows: Vec<Fields>, texts: Vec<Vec<Word>>) -> Result<()> {
        for (own, words) in rows.into_iter().zip(texts) {
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

/// The row of a word of text `number`; `own` are the columns of that, of which the text itself is left out.
fn row(number: u64, own: &Fields, word: Word) -> Fields {
    let mut row: Fields = vec![("row".into(), number.into())];
    for (name, value) in own.iter().filter(|(name, _)| name != "text") {
        sheet::add(&mut row, name, value.clone());
    }
    sheet::add(&mut row, "word", word.word.into());
    sheet::add(&mut row, "start", word.start.into());
    sheet::add(&mut row, "end", word.end.into());
    sheet::add(&mut row, "prediction", word.label.into());
    sheet::add(&mut row, "probability", sheet::number(word.score));
    row
}
