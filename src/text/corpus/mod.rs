//! Readers of text corpora: files on disk to [`Example`]s, one at a time.
//!
//! [`read`] pushes the examples of a [`Source`] into a closure. It streams: at no time is more
//! than one document (for a word-level wiki, one article) in memory.

mod by_file;
mod by_folder;
mod columnar;
mod columns;
mod decode;
mod describe;
mod detect;
mod guess;
mod imdb;
mod json;
mod lines;
mod newsgroups;
mod objects;
mod plain;
mod rows;
mod table;
mod tables;
mod tagged;
mod trec;

pub(crate) use by_folder::Layout;
pub use describe::{Described, HeaderRow, describe};
pub(super) use lines::open;
pub(crate) use lines::{Lines, entry_name, files_below, for_each_in_tar, open_bytes, read_bytes};
pub use rows::rows;
pub use table::is_numbered;
pub(crate) use tables::part_called;
pub use tables::same_columns;
pub use tagged::{Words, is_cut, is_only_tagged, is_tagged, read_tagged, read_words};

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, Result, bounded};
use by_file::{ROTTEN_TOMATOES, SUBJECTIVITY};

/// What reads an example; its error ends the reading.
pub type Sink<'a> = dyn FnMut(Example) -> Result<()> + 'a;

/// One document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// The text, with line breaks as `\n`.
    pub text: String,
    /// A second text that belongs to it: the other sentence of a pair, the answer to a prompt.
    pub pair: Option<String>,
    /// The name of its class.
    pub label: Option<String>,
    /// The part of the data it belongs to, where the data say so.
    pub split: Option<Split>,
    /// The line of its file on which it begins, from 1, where lines tell texts apart.
    pub line: Option<u64>,
    /// All that its row holds, by column or key, where [`Source::rows`] asks for it.
    pub row: Vec<(String, Value)>,
}

/// A text by itself.
impl From<&str> for Example {
    fn from(text: &str) -> Example {
        Example {
            text: text.to_string(),
            ..Example::default()
        }
    }
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Labelled examples to learn from.
    Train,
    /// Held out from training, to choose by.
    Validation,
    /// Looked at once, at the end.
    Test,
    /// Unlabelled text.
    Unsup,
}

/// How a corpus is laid out on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Large Movie Review Dataset (Maas et al., ACL 2011): the official tar.gz or its folder.
    Imdb,
    /// Sentence polarity data v1.0 (Pang & Lee, ACL 2005): tar.gz, folder, or one of the two files.
    RottenTomatoes,
    /// Subjectivity data v1.0 (Pang & Lee, ACL 2004): tar.gz, folder, or one of the two files.
    Subjectivity,
    /// TREC's questions (Li & Roth, COLING 2002): a `.label` file.
    Trec,
    /// 20 Newsgroups: the tar.gz or its folder, a folder for each group.
    Newsgroups,
    /// Comma separated, RFC 4180 quoting (a quoted field may hold line breaks). Semicolons, tabs or
    /// bars where the first rows say so.
    Csv,
    /// Tab separated, no quoting (a quotation mark is a character like any other).
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet, uncompressed or by snappy or gzip.
    Parquet,
    /// One document a line; empty lines are skipped.
    Txt,
    /// WikiText `*.tokens`: one document an article, which a ` = Title = ` line begins.
    Wikitext,
    /// A folder or a tar archive: each `.txt` file in it or below it is one document.
    Folder,
    /// A folder or a tar archive whose `.txt` files all stand in folders that name their class, one document
    /// each; around those there may be `train…` and `test…`. Taken so where labels are learned.
    Classes,
    /// A folder of csv, tsv, jsonl or parquet files. Where one is called `train…`, names tell the parts:
    /// `dev…` or `validation…` and `test…` are the others.
    Tables,
    /// One document: all of the file.
    Whole,
}

impl Format {
    /// Whether its texts have a class without there being columns.
    pub fn tells_classes(self) -> bool {
        use Format::{Classes, Imdb, Newsgroups, RottenTomatoes, Subjectivity, Trec};
        matches!(
            self,
            Classes | Imdb | Newsgroups | RottenTomatoes | Subjectivity | Trec
        )
    }

    /// Its name, as a run file or the command line has it.
    pub(crate) fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        let name = name.and_then(|name| name.as_str().map(String::from));
        name.unwrap_or_default()
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        serde_json::from_value(name.into()).map_err(|_| {
            let known = detect::FORMATS;
            let message = format!("no format has this name; the formats are {known}");
            unknown_format(Path::new(name), message)
        })
    }
}

fn unknown_format(path: &Path, message: impl Into<String>) -> Error {
    Error::UnknownFormat {
        path: path.to_owned(),
        message: message.into(),
    }
}

/// A column of a csv, tsv or parquet file, or a key of a jsonl file: its name, or (csv, tsv) its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Column {
    /// By number, from 0.
    Index(usize),
    /// By its header.
    Name(String),
}

impl From<&str> for Column {
    /// A number is an index, anything else a name.
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(index) => Column::Index(index),
            Err(_) => Column::Name(text.to_owned()),
        }
    }
}

/// As it is written on the command line, or a bare number.
impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NameOrNumber)
    }
}

struct NameOrNumber;

impl Visitor<'_> for NameOrNumber {
    type Value = Column;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a column's name or its number, from 0")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Column, E> {
        usize::try_from(number)
            .map(Column::Index)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Column, E> {
        Ok(Column::from(text))
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Column::Index(index) => write!(f, "{index}"),
            Column::Name(name) => f.write_str(name),
        }
    }
}

/// What a label says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// The class of its text.
    #[default]
    Class,
    /// Any number of classes, with commas between them: an empty one then says that none applies, and
    /// a jsonl may have lists.
    Several,
    /// A number.
    Number,
}

/// A corpus on disk and how to read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The file or folder. Any file may be gzipped.
    pub path: PathBuf,
    /// The format; by default told from the path.
    pub format: Option<Format>,
    /// The text column (csv, tsv, jsonl, parquet). By default a header such as `text`, `review` or
    /// `sentence`; without one the column with the most text.
    pub text: Option<Column>,
    /// The column of the second text of a pair (csv, tsv, jsonl, parquet). By default, where labels are learned and no
    /// text is named, that of two headers that belong together, such as `premise` and `hypothesis`.
    pub pair: Option<Column>,
    /// Whether a second text is looked for where none is named; by default where labels are learned.
    pub pairs: Option<bool>,
    /// The label column. By default a header such as `label`, `class` or `sentiment`; without a
    /// header the other one of two columns. An empty label means unlabelled, unless
    /// [`LabelKind::Several`] apply.
    pub label: Option<Column>,
    /// What a label says.
    pub label_kind: LabelKind,
    /// Whether a csv or tsv file may lack the label column: nothing learns from labels.
    pub label_optional: bool,
    /// Whether the first row of a csv or tsv is a header; by default told from its words.
    pub header: Option<bool>,
    /// Cuts every text after each occurrence of this (`。`); line breaks go, as within a sentence
    /// they mean nothing.
    pub sentence_end: Option<String>,
    /// Puts all its examples in this part of the data, whatever the files say.
    pub split: Option<Split>,
    /// When false, labels are dropped, examples of the source's own test part are left out (a
    /// model must not see them), and all others count as [`Split::Unsup`].
    pub labelled: bool,
    /// Whether examples keep all that their rows hold. Labels are then left there, unread.
    pub rows: bool,
}

impl Source {
    /// A labelled corpus; everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            labelled: true,
            ..Self::default()
        }
    }

    /// A corpus whose texts a model is asked about: all parts of it, whole rows, with labels or without.
    pub fn asked(path: impl Into<PathBuf>) -> Self {
        Self {
            label_optional: true,
            rows: true,
            ..Self::new(path)
        }
    }

    /// The same corpus as a source of unlabelled text.
    pub fn unlabelled(path: impl Into<PathBuf>) -> Self {
        Self {
            labelled: false,
            ..Self::new(path)
        }
    }

    /// The format: the one given, or the one told from the path.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::UnknownFormat`].
    pub fn resolve_format(&self) -> Result<Format> {
        detect::format(self)
    }

    /// The files that it is, where it is a folder of tables; else itself.
    ///
    /// # Errors
    /// Those of [`resolve_format`](Self::resolve_format) and of reading the first rows of a test file.
    pub fn files(&self) -> Result<Vec<Source>> {
        match self.resolve_format()? {
            Format::Tables => tables::files(self),
            _ => Ok(vec![self.clone()]),
        }
    }

    /// sha256 of the source's bytes (of a folder: of its files' names and bytes, in sorted
    /// order), in hexadecimal. Two sources with equal hashes hold the same text.
    ///
    /// # Errors
    /// [`Error::FileMissing`], [`Error::Io`], [`Error::UnknownFormat`].
    pub fn content_hash(&self) -> Result<String> {
        let files = match self.resolve_format()? {
            Format::RottenTomatoes => ROTTEN_TOMATOES.files(&self.path)?,
            Format::Subjectivity => SUBJECTIVITY.files(&self.path)?,
            _ => lines::files_below(&self.path)?,
        };
        hash_files(&self.path, &files)
    }
}

/// sha256 of a file's bytes, or of a folder's files' names and bytes, whatever they are, but for those
/// below `except`.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`].
pub(crate) fn hash_below(path: &Path, except: &Path) -> Result<String> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let except = whole(except);
    let mut files = lines::files_below(path)?;
    files.retain(|file| !whole(file).starts_with(&except));
    hash_files(path, &files)
}

/// sha256 of files' names below `root` and of their bytes, in this order.
///
/// # Errors
/// [`Error::FileMissing`], [`Error::Io`].
pub(crate) fn hash_files(root: &Path, files: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        if let Ok(name) = file.strip_prefix(root) {
            hasher.update(name.as_os_str().as_encoded_bytes());
        }
        hasher.update([0]);
        let length = hash_file(file, &mut hasher)?;
        // The length separates a file from the next one.
        hasher.update(length.to_le_bytes());
    }
    Ok(hex(&hasher.finalize()))
}

fn hash_file(path: &Path, hasher: &mut Sha256) -> Result<u64> {
    let mut file = bounded::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        match file.read(&mut buffer).map_err(|e| Error::read(path, e))? {
            0 => return Ok(length),
            count => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
        }
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `source` from beginning to end, giving each example to `sink`. Returns their number.
///
/// The order is that of the files (a folder's are sorted), hence the same on every machine.
///
/// # Errors
/// Those of `sink`, and [`Error::FileMissing`], [`Error::Io`], [`Error::NotUtf8`],
/// [`Error::MalformedRow`], [`Error::ColumnMissing`], [`Error::UnknownFormat`],
/// [`Error::ConfigValue`] where several columns may be the one, [`Error::EmptyText`] when there was no
/// example, [`Error::EmptyClass`] when an IMDB or Rotten Tomatoes corpus lacks one of its two classes.
pub fn read(source: &Source, sink: &mut Sink) -> Result<usize> {
    let format = source.resolve_format()?;
    if format == Format::Tables {
        let files = source.files()?;
        return files
            .iter()
            .try_fold(0, |all, file| Ok(all + read(file, sink)?));
    }
    let mut count = 0;
    let mut pass = |mut example: Example| {
        count += 1;
        if !source.labelled {
            if example.split == Some(Split::Test) {
                return Ok(());
            }
            example.label = None;
            example.split = Some(Split::Unsup);
        }
        example.split = source.split.or(example.split);
        if source.rows && example.row.is_empty() {
            let named = |(name, value): (&str, Option<&String>)| {
                value.map(|value| (name.to_owned(), value.as_str().into()))
            };
            let fields = [
                ("text", Some(&example.text)),
                ("pair", example.pair.as_ref()),
                ("label", example.label.as_ref()),
            ];
            example.row = fields.into_iter().filter_map(named).collect();
        }
        let Some(end) = source.sentence_end.as_ref().filter(|end| !end.is_empty()) else {
            return sink(example);
        };
        let text = example.text.replace(['\r', '\n'], "");
        for sentence in text.split_inclusive(end.as_str()).map(str::trim) {
            if !sentence.is_empty() {
                sink(Example {
                    text: sentence.to_owned(),
                    ..example.clone()
                })?;
            }
        }
        Ok(())
    };
    match format {
        Format::Imdb => imdb::read(source, &mut pass),
        Format::RottenTomatoes => ROTTEN_TOMATOES.read(source, &mut pass),
        Format::Subjectivity => SUBJECTIVITY.read(source, &mut pass),
        Format::Newsgroups => newsgroups::read(source, &mut pass),
        Format::Trec => trec::read(source, &mut pass),
        Format::Csv => table::read(source, b',', &mut pass),
        Format::Tsv => table::read(source, b'\t', &mut pass),
        Format::Jsonl | Format::Parquet => json::read(source, &mut pass),
        Format::Txt => plain::read_lines(&source.path, &mut pass),
        Format::Wikitext => plain::read_wikitext(&source.path, &mut pass),
        Format::Folder => plain::read_folder(source, &mut pass),
        Format::Classes => by_folder::read(source, &mut pass),
        Format::Whole => plain::read_whole(&source.path, &mut pass),
        // Its files were read above.
        Format::Tables => Ok(()),
    }?;
    match count {
        0 => Err(Error::EmptyText {
            path: source.path.clone(),
        }),
        _ => Ok(count),
    }
}

/// A label as it stands in a file, or what is wrong with it. `-1` is a label as any other: of a class, or
/// a number to learn.
fn clean_label(source: &Source, label: &str) -> Result<Option<String>, String> {
    let label = label.trim();
    match source.label_kind {
        LabelKind::Several => {}
        _ if label.is_empty() => return Ok(None),
        LabelKind::Class => {}
        LabelKind::Number => {
            let number = label.parse().ok().filter(|x: &f32| x.is_finite());
            number.ok_or_else(|| {
                let label: String = label.chars().take(24).collect();
                format!(
                    "the label '{label}' is no finite number, as problem = \"regression\" needs; \
                     correct it, or leave it empty where there is none"
                )
            })?;
        }
    }
    Ok(Some(label.to_owned()))
}
