//! Collections with a file for each of two classes, a text a line: Rotten Tomatoes' sentence polarity data
//! v1.0 (Pang & Lee, "Seeing stars", ACL 2005) and the subjectivity data v1.0 of the same authors ("A
//! sentimental education", ACL 2004).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Example, Sink, Source, imdb, lines, unknown_format};
use crate::{Error, Result};

/// A collection: its two classes, and what the names of their files say.
pub(super) struct Collection {
    classes: [&'static str; 2],
    files: [&'static str; 2],
    /// The part of a file's name that differs between the two.
    marks: [&'static str; 2],
    /// The folder that an archive unpacks to.
    folder: &'static str,
    name: &'static str,
}

pub(super) const ROTTEN_TOMATOES: Collection = Collection {
    classes: ["neg", "pos"],
    files: ["rt-polarity.neg", "rt-polarity.pos"],
    marks: [".neg", ".pos"],
    folder: "rt-polaritydata",
    name: "Rotten Tomatoes",
};

pub(super) const SUBJECTIVITY: Collection = Collection {
    classes: ["objective", "subjective"],
    files: ["plot.tok.gt9.5000", "quote.tok.gt9.5000"],
    marks: ["plot.tok", "quote.tok"],
    folder: "rotten_imdb",
    name: "subjectivity",
};

impl Collection {
    /// The class, by its place, that a file's name tells.
    pub(super) fn class(&self, name: &Path) -> Option<usize> {
        let name = name.file_name()?.to_str()?;
        let name = name.strip_suffix(".gz").unwrap_or(name);
        self.files.iter().position(|file| *file == name)
    }

    /// The folder that holds the two files: the path itself or the archive's folder in it.
    pub(super) fn root(&self, path: &Path) -> Option<PathBuf> {
        let has = |folder: &PathBuf| self.files.iter().any(|file| folder.join(file).is_file());
        [path.to_owned(), path.join(self.folder)]
            .into_iter()
            .find(has)
    }

    /// The files to read: both for a folder or for either of them, else the archive.
    pub(super) fn files(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let [first, second] = self.files;
        let pair = if path.is_dir() {
            let expected = format!("a {} folder holds {first} and {second}", self.name);
            let root = self
                .root(path)
                .ok_or_else(|| unknown_format(path, expected))?;
            self.files.map(|file| root.join(file))
        } else {
            // rt-polarity.pos, also rt-polarity.pos.gz: the other file lies beside it.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(mark) = self.marks.iter().find(|mark| name.contains(*mark)) else {
                return Ok(vec![path.to_owned()]);
            };
            self.marks
                .map(|other| path.with_file_name(name.replacen(mark, other, 1)))
        };
        match pair.iter().find(|file| !file.exists()) {
            Some(path) => Err(Error::FileMissing { path: path.clone() }),
            None => Ok(pair.into()),
        }
    }

    pub(super) fn read(&self, source: &Source, sink: &mut Sink) -> Result<()> {
        let mut counts = [0; 2];
        let mut pass = |class: usize, reader: &mut dyn Read, name: &Path| {
            let count = read_class(reader, name, self.classes[class], sink);
            count.map(|count| counts[class] += count)
        };
        match self.files(&source.path)?.as_slice() {
            [first, second] => {
                pass(0, &mut lines::open_bytes(first)?, first)?;
                pass(1, &mut lines::open_bytes(second)?, second)?;
            }
            _ => lines::for_each_in_tar(&source.path, &mut |name, reader| {
                if let Some(class) = self.class(name) {
                    pass(class, reader, &lines::entry_name(&source.path, name))?;
                }
                Ok(true)
            })?,
        }
        if counts != [0, 0] {
            imdb::check_classes(&self.classes, &counts, &source.path, "all")?;
        }
        Ok(())
    }
}

/// Reads one file, some 600 kB, whole: its encoding is a property of all of it.
fn read_class(reader: &mut dyn Read, name: &Path, class: &str, sink: &mut Sink) -> Result<usize> {
    let text = lines::read_any(reader, name)?;
    let mut count = 0;
    // Not `lines()` of some other kind: U+0085 must not end a line.
    let lines = text.split('\n').map(str::trim);
    for line in lines.filter(|line| !line.is_empty()) {
        count += 1;
        sink(Example {
            text: line.to_owned(),
            label: Some(class.to_owned()),
            ..Example::default()
        })?;
    }
    Ok(count)
}
