//! Large Movie Review Dataset v1.0 (Maas et al., "Learning Word Vectors for Sentiment Analysis",
//! ACL 2011): `aclImdb/{train,test}/{pos,neg}/ID_RATING.txt`, `aclImdb/train/unsup/ID_0.txt`.

use std::path::{Path, PathBuf};

use super::{Example, Sink, Source, Split, lines, unknown_format};
use crate::{Error, Result};

const CLASSES: [&str; 2] = ["neg", "pos"];

/// The split and class that the path of a review tells, `None` for any other file.
pub(super) fn place(name: &Path) -> Option<(Split, Option<&'static str>)> {
    let mut parts = name
        .iter()
        .rev()
        .map(|part| part.to_str().unwrap_or_default());
    let (file, class, part) = (parts.next()?, parts.next()?, parts.next()?);
    if !file.ends_with(".txt") {
        return None;
    }
    match (part, class) {
        ("train", "neg") => Some((Split::Train, Some("neg"))),
        ("train", "pos") => Some((Split::Train, Some("pos"))),
        ("test", "neg") => Some((Split::Test, Some("neg"))),
        ("test", "pos") => Some((Split::Test, Some("pos"))),
        ("train", "unsup") => Some((Split::Unsup, None)),
        _ => None,
    }
}

/// The folders of reviews.
const FOLDERS: [&str; 3] = ["neg", "pos", "unsup"];

/// The class of a text that lies where a review would, and is none of theirs.
fn another(name: &Path) -> Option<&str> {
    let (class, part) = (name.parent()?, name.parent()?.parent()?);
    let class = class.file_name()?.to_str()?;
    let is_part = ["train", "test"].iter().any(|own| part.ends_with(own));
    let is_text = name.extension().is_some_and(|end| end == "txt");
    (is_part && is_text && !FOLDERS.contains(&class)).then_some(class)
}

/// The folder that holds `train/`: the path itself or `aclImdb` in it.
pub(super) fn root(path: &Path) -> Option<PathBuf> {
    let is_root = |folder: &PathBuf| {
        let train = folder.join("train");
        let entries = std::fs::read_dir(&train).into_iter().flatten().flatten();
        // Of other classes it is another set.
        let mut others = entries.filter(|entry| {
            let name = entry.file_name();
            entry.path().is_dir() && !FOLDERS.iter().any(|own| name == *own)
        });
        FOLDERS.iter().any(|own| train.join(own).is_dir()) && others.next().is_none()
    };
    [path.to_owned(), path.join("aclImdb")]
        .into_iter()
        .find(is_root)
}

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let path = &source.path;
    let mut counts = [0usize; 2];
    let mut pass = |(split, label): (Split, Option<&str>), text: &str| {
        if let (Split::Train, Some(label)) = (split, label) {
            counts[usize::from(label == CLASSES[1])] += 1;
        }
        sink(Example {
            text: break_lines(text),
            label: label.map(str::to_owned),
            split: Some(split),
            ..Example::default()
        })
    };
    if path.is_dir() {
        let expected = "an IMDB folder holds train/pos, train/neg and test/pos, test/neg; name the \
                        folder that holds train";
        let root = root(path).ok_or_else(|| unknown_format(path, expected))?;
        for file in lines::files_below(&root)? {
            if let Some(place) = place(&file) {
                pass(place, &lines::read_file(&file)?)?;
            }
        }
    } else {
        lines::for_each_in_tar(path, &mut |name, reader| {
            if let Some(class) = another(name) {
                let message = format!(
                    "it is as IMDB's archive and has a class '{class}' besides; unpack it and name the folder, which is \
                     read with all its classes"
                );
                return Err(unknown_format(path, message));
            }
            if let Some(place) = place(name) {
                let name = lines::entry_name(path, name);
                pass(place, &lines::read_text(reader, &name)?)?;
            }
            Ok(true)
        })?;
    }
    if source.labelled && counts != [0, 0] {
        check_classes(&CLASSES, &counts, path, "train")?;
    }
    Ok(())
}

/// Both classes must have examples: half a data set is a broken download.
pub(super) fn check_classes(
    classes: &[&str; 2],
    counts: &[usize; 2],
    path: &Path,
    part: &str,
) -> Result<()> {
    match counts.iter().position(|&count| count == 0) {
        None => Ok(()),
        Some(class) => Err(Error::EmptyClass {
            class: classes[class].into(),
            place: format!("'{}' ({part})", path.display()),
            needed: 1,
            found: 0,
            remedy: "half a data set is a broken download: unpack or fetch it again".into(),
        }),
    }
}

/// The reviews write a line break as `<br />`.
fn break_lines(text: &str) -> String {
    text.replace("<br />", "\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let of = |name: &str| place(Path::new(name));
        assert_eq!(
            of("aclImdb/train/pos/3_8.txt"),
            Some((Split::Train, Some("pos")))
        );
        assert_eq!(of("x/test/neg/3_1.txt"), Some((Split::Test, Some("neg"))));
        assert_eq!(of("train/unsup/3_0.txt"), Some((Split::Unsup, None)));
        assert_eq!(of("aclImdb/train/urls_pos.txt"), None);
        assert_eq!(of("aclImdb/train/labeledBow.feat"), None);
        assert_eq!(of("aclImdb/test/unsup/3_0.txt"), None);
        let other = |name: &'static str| another(Path::new(name));
        assert_eq!(other("x/train/neutral/3_5.txt"), Some("neutral"));
        for own in [
            "x/test/unsup/1.txt",
            "x/train/urls_pos.txt",
            "x/README",
            "x/train/a/b.feat",
        ] {
            assert_eq!(other(own), None);
        }
    }

    #[test]
    fn breaks() {
        assert_eq!(break_lines("good.<br /><br />bad "), "good.\n\nbad");
    }
}
