//! MNIST's files: IDX, gzipped or not.
//!
//! ```text
//! 0 0, type (8: bytes), number of axes, the length of each as u32 (big-endian), the bytes
//! ```

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::pictures::Picture;
use super::sources::{Encoded, Item, Sink};
use crate::error::{Error, Result};
use crate::text::Split;
use crate::text::corpus::open_bytes;

/// A file of pictures, that of their labels, and the part of the data that they are.
pub(super) struct Pair {
    pub pictures: PathBuf,
    labels: PathBuf,
    split: Option<Split>,
}

fn bad(path: &Path, problem: impl ToString) -> Error {
    Error::folder(path, problem)
}

/// The pairs among these files; the name of a file of labels has "labels" where that of its pictures has
/// "images".
pub(super) fn pairs(files: &[PathBuf]) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let plain = name.trim_end_matches(".gz");
        if !name.contains("images") || !(plain.contains("idx3") || plain.ends_with(".idx")) {
            continue;
        }
        let twin = |gz: bool| {
            let own = plain.replace("images", "labels").replace("idx3", "idx1");
            path.with_file_name(own + if gz { ".gz" } else { "" })
        };
        let labels = [twin(false), twin(true)];
        let Some(labels) = labels.into_iter().find(|twin| files.contains(twin)) else {
            let problem = "has pictures, and beside it lies no file of their labels; copy that too";
            return Err(bad(path, problem));
        };
        // A file and its unpacked twin are the same pictures.
        if pairs.iter().any(|pair: &Pair| {
            let other = pair.pictures.to_string_lossy();
            other.trim_end_matches(".gz") == path.to_string_lossy().trim_end_matches(".gz")
        }) {
            continue;
        }
        let split = if name.starts_with("train") {
            Some(Split::Train)
        } else if name.starts_with("t10k") || name.starts_with("test") {
            Some(Split::Test)
        } else {
            None
        };
        pairs.push(Pair {
            pictures: path.clone(),
            labels,
            split,
        });
    }
    Ok(pairs)
}

/// The lengths of a file's axes, of which there are `axes`, and a reader of its bytes.
fn open(path: &Path, axes: usize) -> Result<(Vec<usize>, impl Read)> {
    let mut reader = open_bytes(path)?;
    let mut begin = [0; 4];
    let short = |e| match std::io::Error::kind(&e) {
        std::io::ErrorKind::UnexpectedEof => bad(path, "ends too early; copy it again"),
        _ => Error::read(path, e),
    };
    reader.read_exact(&mut begin).map_err(short)?;
    if begin != [0, 0, 8, axes as u8] {
        let problem = format!(
            "is no IDX file of bytes with {axes} axes (it begins with {begin:?}); copy it again"
        );
        return Err(bad(path, problem));
    }
    let mut lengths = Vec::new();
    for _ in 0..axes {
        let mut length = [0; 4];
        reader.read_exact(&mut length).map_err(short)?;
        lengths.push(u32::from_be_bytes(length) as usize);
    }
    Ok((lengths, reader))
}

/// Gives each picture of a pair of files to `sink`.
pub(super) fn read(pair: &Pair, sink: &mut Sink<'_>) -> Result<()> {
    let path = &pair.pictures;
    let (lengths, mut reader) = open(path, 3)?;
    let (labelled, labels) = open(&pair.labels, 1)?;
    let (count, height, width) = (lengths[0], lengths[1], lengths[2]);
    if labelled[0] != count {
        let problem = format!(
            "has {} labels of {count} pictures; copy both again",
            labelled[0]
        );
        return Err(bad(&pair.labels, problem));
    }
    let size = height
        .checked_mul(width)
        .filter(|n| (1..=1 << 27).contains(n));
    let size = size.ok_or_else(|| {
        let problem = format!("says that its pictures are {height} × {width}; copy it again");
        bad(path, problem)
    })?;
    let mut labels = BufReader::new(labels).bytes();
    let short = |path: &Path| {
        bad(
            path,
            format!("has fewer than the {count} that it says; copy it again"),
        )
    };
    for number in 0..count {
        let mut pixels = Vec::new();
        let mut one = reader.by_ref().take(size as u64);
        one.read_to_end(&mut pixels)
            .map_err(|e| Error::read(path, e))?;
        if pixels.len() < size {
            return Err(short(path));
        }
        let label = labels.next().ok_or_else(|| short(&pair.labels))?;
        let label = label.map_err(|e| Error::read(&pair.labels, e))?;
        sink(Item {
            name: format!("{}: {number}", path.display()),
            label: Some(label.to_string()),
            split: pair.split,
            encoded: Encoded::Pixels(Picture {
                height,
                width,
                channels: 1,
                pixels,
            }),
        })?;
    }
    Ok(())
}
