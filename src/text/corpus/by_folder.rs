//! A folder or archive with a folder for each class, a text a file: `CLASS/….txt`, or `train/CLASS/….txt`
//! and `test/CLASS/….txt`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Example, Sink, Source, Split, guess, lines, plain, tables};
use crate::Result;

/// The folder of texts that belong to no class, as IMDB has it.
const UNLABELLED: &str = "unsup";
/// Classes that are named when it is said how a folder is read.
const NAMED: usize = 8;

/// Which of the folders around a text tell its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Folders around everything.
    outer: usize,
    /// Whether the parts of the data come before the classes.
    parts: bool,
}

impl Layout {
    /// That of texts by their names below the folder; `None` where some text stands in no folder, or all in
    /// one: the folders are no classes then.
    pub(crate) fn of(files: &[PathBuf]) -> Option<Layout> {
        let folders: Vec<Vec<&str>> = files.iter().map(|file| folders(file)).collect();
        let first = folders.first()?;
        let mut outer = 0;
        while folders
            .iter()
            .all(|of| of.len() > outer + 1 && of[outer] == first[outer])
        {
            outer += 1;
        }
        let at = |depth: usize| -> Option<BTreeSet<&str>> {
            folders.iter().map(|of| of.get(depth).copied()).collect()
        };
        let parts: Option<Vec<Split>> = at(outer)?.into_iter().map(part).collect();
        let parts = parts.is_some_and(|parts| parts.contains(&Split::Train));
        let mut classes = at(outer + usize::from(parts))?;
        classes.remove(UNLABELLED);
        (classes.len() > 1).then_some(Layout { outer, parts })
    }

    /// How many folders stand around those that are classes.
    pub(crate) fn depth(&self) -> usize {
        self.outer + usize::from(self.parts)
    }

    /// The part of the data and the class that a text's name tells.
    pub(crate) fn place<'a>(&self, file: &'a Path) -> Option<(Option<Split>, &'a str)> {
        let mut folders = folders(file).into_iter().skip(self.outer);
        let split = match self.parts {
            true => part(folders.next()?),
            false => None,
        };
        Some((split, folders.next()?))
    }
}

/// The folders around a file.
fn folders(file: &Path) -> Vec<&str> {
    let all = file.parent().into_iter().flat_map(Path::iter);
    let named = all.filter_map(|folder| folder.to_str());
    named.filter(|folder| *folder != ".").collect()
}

/// The part of the data that a folder's name tells, as `train`, `20news-bydate-test`.
fn part(folder: &str) -> Option<Split> {
    let lower = folder.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphabetic());
    let first = words.next().and_then(tables::part_called);
    first.or_else(|| words.next_back().and_then(tables::part_called))
}

/// Whether a file is one of the texts: none of a folder of programs, as `.git`.
fn counts(file: &Path) -> bool {
    plain::is_text(file) && !folders(file).iter().any(|folder| folder.starts_with('.'))
}

/// The names of the texts below a folder, or in an archive.
pub(super) fn texts(path: &Path) -> Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    let mut keep = |name: &Path| {
        if counts(name) {
            names.push(name.to_path_buf());
        }
    };
    if path.is_dir() {
        let files = lines::files_below(path)?;
        let below = files
            .iter()
            .map(|file| file.strip_prefix(path).unwrap_or(file));
        below.for_each(keep);
    } else {
        lines::for_each_in_tar(path, &mut |name, _| {
            keep(name);
            Ok(true)
        })?;
    }
    Ok(names)
}

pub(super) fn read(source: &Source, sink: &mut Sink) -> Result<()> {
    let path = &source.path;
    let names = texts(path)?;
    let Some(layout) = Layout::of(&names) else {
        return plain::read_folder(source, sink);
    };
    say(path, layout, &names);
    plain::read_files(path, &mut |name, text| {
        // What has come since the others were listed may stand anywhere.
        let Some((split, class)) = layout.place(name).filter(|_| counts(name)) else {
            return Ok(());
        };
        let unlabelled = class == UNLABELLED;
        sink(Example {
            text,
            label: (!unlabelled).then(|| class.to_owned()),
            split: if unlabelled {
                Some(Split::Unsup)
            } else {
                split
            },
            ..Example::default()
        })
    })
}

fn say(path: &Path, layout: Layout, names: &[PathBuf]) {
    let classes: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| Some(layout.place(name)?.1))
        .collect();
    let mut said: Vec<&str> = classes
        .into_iter()
        .filter(|class| *class != UNLABELLED)
        .collect();
    let count = said.len();
    said.truncate(NAMED);
    let (said, more) = (said.join(", "), if count > NAMED { ", …" } else { "" });
    let parts = if layout.parts {
        ", in parts by the folders around them"
    } else {
        ""
    };
    let said = format!("a text a file, {count} classes by its folders: {said}{more}{parts}");
    guess::say(path, log::Level::Info, said);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let of = |names: &[&str]| Layout::of(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        let is = |outer, parts| Some(Layout { outer, parts });
        assert_eq!(of(&["pos/a.txt", "neg/b.txt"]), is(0, false));
        assert_eq!(of(&["pos/1/a.txt", "neg/b.txt"]), is(0, false));
        assert_eq!(of(&["./x/y/pos/a.txt", "x/y/neg/b.txt"]), is(2, false));
        assert_eq!(
            of(&["train/a/1.txt", "train/b/1.txt", "test/a/2.txt"]),
            is(0, true)
        );
        assert_eq!(
            of(&["n-train/a/1.txt", "n-train/b/1.txt", "n-test/a/2.txt"]),
            is(0, true)
        );
        // Without a part to learn from, these are classes.
        assert_eq!(of(&["test/a.txt", "exam/b.txt"]), is(0, false));
        assert_eq!(of(&["a.txt", "pos/b.txt"]), None);
        assert_eq!(of(&["pos/a.txt", "pos/b.txt"]), None);
        assert_eq!(of(&["pos/a.txt", "unsup/b.txt"]), None);
        assert_eq!(of(&["train/a.txt", "test/b.txt"]), None);
        assert_eq!(of(&[]), None);
    }
}
