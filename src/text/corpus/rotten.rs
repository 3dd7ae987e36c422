//! Sentence polarity data v1.0 (Pang & Lee, "Seeing stars", ACL 2005): one snippet a line in
//! `rt-polarity.pos` and `rt-polarity.neg`.
//!
//! The official files are Windows-1252. A file is read as UTF-8 when it is valid UTF-8 and as
//! Windows-1252 otherwise.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Example, Sink, Source, imdb, lines, unknown_format};
use crate::{Error, Result};

/// The class that a file's name tells.
pub(super) fn class(name: &Path) -> Option<&'static str> {
    let name = name.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    match name {
        "rt-polarity.neg" => Some("neg"),
        "rt-polarity.pos" => Some("pos"),
        _ => None,
    }
}

/// The folder that holds the two files: the path itself or `rt-polaritydata` in it.
pub(super) fn root(path: &Path) -> Option<PathBuf> {
    let has = |folder: &PathBuf| {
        folder.join("rt-polarity.neg").is_file() || folder.join("rt-polarity.pos").is_file()
    };
    [path.to_owned(), path.join("rt-polaritydata")]
        .into_iter()
        .find(has)
}

/// The files to read: neg and pos for a folder or for either of the two files, else the archive.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let pair = if path.is_dir() {
        let expected = "a Rotten Tomatoes folder holds rt-polarity.pos and rt-polarity.neg";
        let root = root(path).ok_or_else(|| unknown_format(path, expected))?;
        [root.join("rt-polarity.neg"), root.join("rt-polarity.pos")]
    } else {
        // rt-polarity.pos, also rt-polarity.pos.gz: the other file lies beside it.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (stem, gz) = name
            .strip_suffix(".gz")
            .map_or((&*name, ""), |stem| (stem, ".gz"));
        let Some(stem) = stem
            .strip_suffix(".neg")
            .or_else(|| stem.strip_suffix(".pos"))
        else {
            return Ok(vec![path.to_owned()]);
        };
        [
            path.with_file_name(format!("{stem}.neg{gz}")),
            path.with_file_name(format!("{stem}.pos{gz}")),
        ]
    };
    match pair.iter().find(|file| !file.exists()) {
        Some(path) => Err(Error::FileMissing { path: path.clone() }),
        None => Ok(pair.into()),
    }
}

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let mut counts = [0; 2];
    match files(&source.path)?.as_slice() {
        [neg, pos] => {
            counts[0] = read_class(&mut lines::open(neg)?, neg, "neg", sink)?;
            counts[1] = read_class(&mut lines::open(pos)?, pos, "pos", sink)?;
        }
        _ => lines::for_each_in_tar(&source.path, &mut |name, reader| {
            if let Some(class) = class(name) {
                let place = lines::entry_name(&source.path, name);
                counts[usize::from(class == "pos")] += read_class(reader, &place, class, sink)?;
            }
            Ok(true)
        })?,
    }
    if counts != [0, 0] {
        imdb::check_classes(&counts, &source.path, "all")?;
    }
    Ok(())
}

/// Reads one file, some 600 kB, whole: its encoding is a property of all of it.
fn read_class(reader: &mut dyn Read, name: &Path, class: &str, sink: &mut Sink) -> Result<usize> {
    let bytes = lines::read_bytes(reader, name)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.into(),
        Err(_) => encoding_rs::WINDOWS_1252.decode(&bytes).0,
    };
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
