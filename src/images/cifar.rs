//! CIFAR's binary batches: a byte or two of labels, then 32 × 32 bytes each of red, green and blue.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::pictures::Picture;
use super::sources::{Encoded, Item, Sink};
use crate::bounded;
use crate::error::{Error, Result};
use crate::text::Split;

const SIDE: usize = 32;
const COLOUR: usize = SIDE * SIDE;

/// Names of CIFAR's files, the part of the data that they are, and the bytes of labels in them.
fn batch(name: &str) -> Option<(Split, usize)> {
    match name {
        "train.bin" => Some((Split::Train, 2)),
        "test.bin" => Some((Split::Test, 2)),
        "test_batch.bin" => Some((Split::Test, 1)),
        name => {
            let number = name.strip_prefix("data_batch_")?.strip_suffix(".bin")?;
            number.parse::<u32>().ok().map(|_| (Split::Train, 1))
        }
    }
}

/// Files that name classes.
pub(super) const NAMES: [&str; 2] = ["batches.meta.txt", "fine_label_names.txt"];

/// Whether a file is one of CIFAR's batches.
pub(super) fn is_batch(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| batch(name.to_str()?))
        .is_some()
}

/// The names of classes in files, by the files' names.
pub(super) type Classes = HashMap<String, Vec<String>>;

/// Names of classes, a line each.
pub(super) fn names(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(String::from).collect()
}

/// Those of files on disk.
pub(super) fn classes(files: &[PathBuf]) -> Result<Classes> {
    let mut classes = Classes::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if NAMES.contains(&&*name) {
            classes.insert(name.into_owned(), names(&bounded::read(path, 1 << 20)?));
        }
    }
    Ok(classes)
}

/// Gives each picture of a batch to `sink`.
pub(super) fn read(
    path: &Path,
    reader: &mut dyn Read,
    classes: &Classes,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((split, labels)) = batch(&name) else {
        return Ok(());
    };
    let named = classes.get(NAMES[labels - 1]);
    let row = labels + 3 * COLOUR;
    for number in 0.. {
        let mut bytes = Vec::new();
        let mut one = reader.take(row as u64);
        let read = one.read_to_end(&mut bytes);
        match read.map_err(|e| Error::read(path, e))? {
            0 => break,
            found if found < row => {
                let problem = "ends within a picture; copy it again";
                return Err(Error::folder(path, problem));
            }
            _ => {}
        }
        let class = usize::from(bytes[labels - 1]);
        let name = named.and_then(|names| names.get(class).cloned());
        let planes = &bytes[labels..];
        let pixels = (0..COLOUR).flat_map(|at| [0, 1, 2].map(|c| planes[c * COLOUR + at]));
        sink(Item {
            name: format!("{}: {number}", path.display()),
            label: Some(name.unwrap_or_else(|| class.to_string())),
            split: Some(split),
            encoded: Encoded::Pixels(Picture {
                height: SIDE,
                width: SIDE,
                channels: 3,
                pixels: pixels.collect(),
            }),
        })?;
    }
    Ok(())
}
