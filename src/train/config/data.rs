//! What a run file says of its data: how labelled files are read, and that they are what it says.

use std::path::{Path, PathBuf};

use super::validate::wrong;
use super::{DataConfig, Source};
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::{self, Column, Format, corpus};

impl Source {
    /// The format of a data set that has one of its own.
    fn format(self) -> Option<Format> {
        match self {
            Source::Imdb => Some(Format::Imdb),
            Source::Rt => Some(Format::RottenTomatoes),
            Source::Newsgroups => Some(Format::Newsgroups),
            Source::Dbpedia | Source::Files | Source::Images | Source::Demo => None,
        }
    }
}

impl DataConfig {
    /// How a file, folder or archive of labelled text is read.
    pub fn labelled(&self, path: &Path) -> text::Source {
        let published = self.source == Source::Dbpedia;
        let column = |own: &Option<Column>, at| {
            let told = published.then_some(Column::Index(at));
            own.clone().or(told)
        };
        text::Source {
            format: self.source.format(),
            text: column(&self.text_column, 2),
            pair: self.pair_column.clone(),
            label: column(&self.label_column, 0),
            header: published.then_some(false),
            ..text::Source::new(path)
        }
    }

    /// Refuses data that are not named, not there, or another data set than is said.
    ///
    /// # Errors
    /// [`Error::ConfigValue`], [`Error::Folder`].
    pub fn require(&self) -> Result<()> {
        if self.path.is_empty() && self.source != Source::Demo {
            return Err(wrong(
                "data.path",
                "is not set; say where the data are with --data PATH",
            ));
        }
        self.require_kind()?;
        let mut paths = self.path.iter().chain(&self.test).chain(&self.unlabelled);
        paths.try_for_each(|path| match path.exists() {
            true => bounded::refuse_special(path),
            false => Err(Error::folder(path, "there is no such file or folder")),
        })
    }

    /// Refuses files of one's own where a data set of this name is meant. What cannot be read is refused
    /// where it is read.
    fn require_kind(&self) -> Result<()> {
        let is_other = |path: &&PathBuf| match (self.source, self.source.format()) {
            (Source::Dbpedia, _) => !self.is_dbpedia(path).unwrap_or(true),
            (_, None) => false,
            (_, own) => {
                let found = text::Source::new(path.as_path()).resolve_format().ok();
                found.is_some() && found != own
            }
        };
        match self.path.iter().chain(&self.test).find(is_other) {
            None => Ok(()),
            Some(path) => Err(wrong(
                "data.source",
                format!(
                    "says another data set than '{}' is; for your own texts take --preset lstm, lm-lstm or sa-lstm, \
                     which find the columns by their names or by --text and --label, or set data.source = \"files\"",
                    path.display()
                ),
            )),
        }
    }

    /// Whether these are tables as DBpedia's, of classes' numbers, titles and texts.
    fn is_dbpedia(&self, path: &Path) -> Result<bool> {
        let files = self.labelled(path).files()?;
        for file in &files {
            let table = matches!(file.resolve_format()?, Format::Csv | Format::Tsv);
            if !table || !corpus::is_numbered(file)? {
                return Ok(false);
            }
        }
        Ok(!files.is_empty())
    }
}
