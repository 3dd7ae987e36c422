//! Pictures and their labels, as they lie on disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::decode::is_picture;
use super::pictures::Picture;
use super::{cifar, idx, table};
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::corpus::{
    Layout, entry_name, files_below, for_each_in_tar, hash_files, open_bytes, read_bytes,
};
use crate::text::{Column, Split};

/// Pictures on disk, and how they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    /// A folder, an archive, a table of paths, or one picture.
    #[serde(skip)]
    pub path: PathBuf,
    /// The column of a table that has the paths; by default found by its name.
    pub image: Option<Column>,
    /// That of the labels, likewise.
    pub label: Option<Column>,
    /// Whether its pictures have labels.
    pub labelled: bool,
    /// Puts all its pictures in this part of the data, whatever the files say.
    pub split: Option<Split>,
}

/// What gets the pictures; its error ends the reading.
pub type Sink<'a> = dyn FnMut(Item) -> Result<()> + 'a;

/// One picture, not yet decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its path, or its place in its file.
    pub name: String,
    /// Its class.
    pub label: Option<String>,
    /// The part of the data that it belongs to, where the data say so.
    pub split: Option<Split>,
    /// The picture.
    pub encoded: Encoded,
}

/// A picture as it lies on disk.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoded {
    /// In a file of its own.
    File(PathBuf),
    /// In an archive: the bytes of its file.
    Bytes(Vec<u8>),
    /// As pixels.
    Pixels(Picture),
}

/// How pictures lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// A csv or tsv with a column of paths and one of labels.
    Table,
    /// MNIST's: two files for each part.
    Idx,
    /// CIFAR's binary batches.
    Cifar,
    /// A folder for each class, perhaps in one for each part of the data.
    Folders,
    /// The same in a tar archive.
    Archive,
    /// One picture.
    Picture,
}

impl ImageFormat {
    /// What it is, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            ImageFormat::Table => "a table of paths and labels",
            ImageFormat::Idx => "pictures in IDX files",
            ImageFormat::Cifar => "CIFAR's binary batches",
            ImageFormat::Folders => "a folder of pictures for each class",
            ImageFormat::Archive => "an archive of pictures",
            ImageFormat::Picture => "a picture",
        }
    }
}

impl ImageSource {
    /// Labelled pictures; everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            labelled: true,
            ..Self::default()
        }
    }

    /// Pictures that a model is asked about, whatever they are called.
    pub fn asked(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    /// How they lie on disk.
    ///
    /// # Errors
    /// [`Error::FileMissing`]; [`Error::UnknownFormat`] where there is no picture.
    pub fn format(&self) -> Result<ImageFormat> {
        let path = &self.path;
        if !path.exists() {
            return Err(Error::FileMissing { path: path.clone() });
        }
        if path.is_file() {
            if table::is_table(path) {
                return Ok(ImageFormat::Table);
            }
            if is_picture(path) {
                return Ok(ImageFormat::Picture);
            }
            if is_archive(path) {
                return Ok(ImageFormat::Archive);
            }
        }
        let files = self.files()?;
        if files.iter().any(|file| cifar::is_batch(file)) {
            return Ok(ImageFormat::Cifar);
        }
        if !idx::pairs(&files)?.is_empty() {
            return Ok(ImageFormat::Idx);
        }
        if files.iter().any(|file| is_picture(file)) {
            return Ok(ImageFormat::Folders);
        }
        Err(Error::UnknownFormat {
            path: path.clone(),
            message: "there is no picture: expected a folder with a folder of png, jpeg, webp, bmp or gif files \
                      for each class, a tar of one, a csv of paths and labels, MNIST's IDX files or CIFAR's \
                      binary batches"
                .into(),
        })
    }

    /// The files below its path; of one IDX file its folder's.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let path = &self.path;
        match path.is_file() && path.to_string_lossy().contains("idx") {
            true => files_below(path.parent().unwrap_or(Path::new("."))),
            false => files_below(path),
        }
    }

    /// sha256 of all that is read. Two sources with equal hashes hold the same pictures.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn content_hash(&self) -> Result<String> {
        let mut files = self.files()?;
        if self.format()? == ImageFormat::Table {
            let mut named = Vec::new();
            table::read(self, &mut |item| {
                if let Encoded::File(file) = item.encoded {
                    named.push(file);
                }
                Ok(())
            })?;
            files.extend(named);
        }
        hash_files(&self.path, &files)
    }

    /// Gives each picture to `sink`, in the order of the files.
    ///
    /// # Errors
    /// Those of `sink` and of [`format`](Self::format); a table without the columns, files that are
    /// damaged, [`Error::NoLabels`] for labelled pictures that stand in one folder.
    pub fn read(&self, sink: &mut Sink<'_>) -> Result<()> {
        let path = &self.path;
        let sink = &mut |mut item: Item| {
            if !self.labelled {
                item.label = None;
            }
            item.split = self.split.or(item.split);
            sink(item)
        };
        match self.format()? {
            ImageFormat::Table => table::read(self, sink),
            ImageFormat::Picture => sink(Item {
                name: path.display().to_string(),
                label: None,
                split: None,
                encoded: Encoded::File(path.clone()),
            }),
            ImageFormat::Idx => {
                let pairs = idx::pairs(&self.files()?)?;
                pairs.iter().try_for_each(|pair| idx::read(pair, sink))
            }
            ImageFormat::Cifar => {
                let files = self.files()?;
                let classes = cifar::classes(&files)?;
                let mut batches = files.iter().filter(|file| cifar::is_batch(file));
                batches
                    .try_for_each(|file| cifar::read(file, &mut open_bytes(file)?, &classes, sink))
            }
            ImageFormat::Folders => {
                let mut files = self.files()?;
                files.retain(|file| counts(file.strip_prefix(path).unwrap_or(file)));
                let below = |file: &PathBuf| file.strip_prefix(path).unwrap_or(file).to_path_buf();
                let names: Vec<PathBuf> = files.iter().map(below).collect();
                let layout = self.layout(&names)?;
                if let Some(layout) = layout {
                    self.refuse_empty(layout, &names)?;
                }
                for (file, name) in files.into_iter().zip(&names) {
                    let (split, class) = placed(layout, name);
                    sink(Item {
                        name: file.display().to_string(),
                        label: class.map(String::from),
                        split,
                        encoded: Encoded::File(file),
                    })?;
                }
                Ok(())
            }
            ImageFormat::Archive => self.read_archive(sink),
        }
    }

    /// Of labelled pictures the folders that are their classes.
    fn layout(&self, names: &[PathBuf]) -> Result<Option<Layout>> {
        if !self.labelled {
            return Ok(None);
        }
        let layout = Layout::of(names);
        layout.map(Some).ok_or_else(|| Error::NoLabels {
            what: "a picture classifier".into(),
            found: format!(
                "no folder for each class in '{}', or a single one",
                self.path.display()
            ),
        })
    }

    /// Refuses a folder of a class in which no picture is.
    fn refuse_empty(&self, layout: Layout, names: &[PathBuf]) -> Result<()> {
        let above = |name: &PathBuf, depth: usize| name.iter().take(depth).collect::<PathBuf>();
        let depth = layout.depth();
        let full: BTreeSet<PathBuf> = names.iter().map(|name| above(name, depth + 1)).collect();
        let around: BTreeSet<PathBuf> = names.iter().map(|name| above(name, depth)).collect();
        for folder in around {
            let path = self.path.join(&folder);
            for entry in std::fs::read_dir(&path).map_err(|e| Error::read(&path, e))? {
                let entry = entry.map_err(|e| Error::read(&path, e))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let left_behind = name.starts_with('.') || name == "__MACOSX";
                if entry.path().is_dir() && !left_behind && !full.contains(&folder.join(&name)) {
                    return Err(Error::EmptyClass {
                        class: name,
                        place: path.display().to_string(),
                        needed: 1,
                        found: 0,
                        remedy: "put pictures into its folder, or take the folder away".into(),
                    });
                }
            }
        }
        Ok(())
    }

    fn read_archive(&self, sink: &mut Sink<'_>) -> Result<()> {
        let path = &self.path;
        let (mut names, mut classes, mut batches) = (Vec::new(), cifar::Classes::new(), false);
        for_each_in_tar(path, &mut |name, reader| {
            let last = name.file_name().unwrap_or_default().to_string_lossy();
            if counts(name) {
                names.push(name.to_path_buf());
            } else if cifar::NAMES.contains(&&*last) {
                let bytes = read_bytes(reader, &entry_name(path, name))?;
                classes.insert(last.into_owned(), cifar::names(&bytes));
            }
            batches |= cifar::is_batch(name);
            Ok(true)
        })?;
        if batches {
            return for_each_in_tar(path, &mut |name, reader| {
                cifar::read(name, reader, &classes, sink)?;
                Ok(true)
            });
        }
        if names.is_empty() {
            return Err(Error::UnknownFormat {
                path: path.clone(),
                message: "the archive has no png, jpeg, webp, bmp or gif file, and none of CIFAR's binary batches"
                    .into(),
            });
        }
        let layout = self.layout(&names)?;
        for_each_in_tar(path, &mut |name, reader| {
            if counts(name) {
                let (split, class) = placed(layout, name);
                let shown = entry_name(path, name);
                sink(Item {
                    label: class.map(String::from),
                    split,
                    encoded: Encoded::Bytes(read_bytes(reader, &shown)?),
                    name: shown.display().to_string(),
                })?;
            }
            Ok(true)
        })
    }
}

fn placed(layout: Option<Layout>, name: &Path) -> (Option<Split>, Option<&str>) {
    let place = layout.and_then(|layout| layout.place(name));
    place.map_or((None, None), |(split, class)| (split, Some(class)))
}

/// Whether a name is a tar's, gzipped or not.
fn is_archive(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    [".tar", ".tar.gz", ".tgz"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether a file counts: a picture, and none of those that systems leave behind.
fn counts(name: &Path) -> bool {
    let hidden = |part: &std::ffi::OsStr| {
        let part = part.to_string_lossy();
        (part.starts_with('.') && part != ".") || part == "__MACOSX"
    };
    is_picture(name) && !name.iter().any(hidden)
}

/// The bytes of a picture that has not been decoded.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>> {
    bounded::read(path, bounded::TEXT)
}
