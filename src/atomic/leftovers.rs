//! The hidden names that things have while they are written, and what a kill leaves under them.
//!
//! ```text
//! .NAME.PROCESS-NUMBER.partial    NAME, being written
//! .NAME.PROCESS-NUMBER.replaced   the NAME of before, while a new one takes its place
//! ```
//! Whoever writes holds a lock on it, which ends with the process: what can be locked was left by a
//! kill. (Windows has no locks on folders; there they stay.)

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::parent;

pub(super) const PARTIAL: &str = "partial";
#[cfg(feature = "train")]
pub(super) const REPLACED: &str = "replaced";

/// A hidden neighbour of `target` that is this call's alone.
pub(super) fn neighbour(target: &Path, kind: &str) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let (process, call) = (std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    target.with_file_name(format!(".{name}.{process}-{call}.{kind}"))
}

/// A name as [`neighbour`] makes them.
#[derive(Debug, PartialEq)]
struct Leftover<'a> {
    /// The name that it was to have, or had.
    target: &'a str,
    replaced: bool,
}

fn parse(name: &str) -> Option<Leftover<'_>> {
    let (stem, kind) = name.strip_prefix('.')?.rsplit_once('.')?;
    let replaced = match kind {
        "partial" => false,
        "replaced" => true,
        _ => return None,
    };
    let (target, tag) = stem.rsplit_once('.')?;
    let (process, call) = tag.split_once('-')?;
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    (is_number(process) && is_number(call)).then_some(Leftover { target, replaced })
}

/// Whether a name is what a kill left of `target`.
#[cfg(feature = "train")]
pub fn is_leftover_of(name: &std::ffi::OsStr, target: &str) -> bool {
    name.to_str()
        .and_then(parse)
        .is_some_and(|found| found.target == target)
}

/// Clears what kills left of everything in a folder.
#[cfg(feature = "train")]
pub fn clear(folder: &Path) {
    clear_where(folder, |_| true);
}

/// Clears what kills left in a folder in which everything is melos's own, and what they left of earlier
/// versions: `.NAME.partial`, `NAME.replaced`.
#[cfg(feature = "train")]
pub fn clear_own(folder: &Path) {
    clear(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.extension().and_then(|end| end.to_str()) {
            Some(PARTIAL) if entry.file_name().as_encoded_bytes().starts_with(b".") => {
                clear_one(&path, &path, false);
            }
            Some(REPLACED) => clear_one(&path, &path.with_extension(""), true),
            _ => {}
        }
    }
}

/// Clears what kills left of one target.
pub(super) fn clear_of(target: &Path) {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    clear_where(parent(target), |found| found == name);
}

/// The best that can be done: what cannot be cleared does no harm.
fn clear_where(folder: &Path, wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(found) = name.to_str().and_then(parse)
            && wanted(found.target)
        {
            clear_one(&entry.path(), &folder.join(found.target), found.replaced);
        }
    }
}

fn clear_one(path: &Path, target: &Path, replaced: bool) {
    // Links and special files are nobody's work that was stopped.
    let Ok(kind) = fs::symlink_metadata(path).map(|m| m.file_type()) else {
        return;
    };
    if !kind.is_file() && !kind.is_dir() {
        return;
    }
    let Some(_held) = File::open(path).ok().filter(|file| file.try_lock().is_ok()) else {
        return;
    };
    let _ = if replaced && !target.exists() {
        fs::rename(path, target)
    } else if kind.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

#[cfg(test)]
mod tests {
    use super::super::{file, names};
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for (name, target, replaced) in [
            (".config.toml.12-0.partial", "config.toml", false),
            (".lm.1.12-3.replaced", "lm.1", true),
        ] {
            assert_eq!(parse(name), Some(Leftover { target, replaced }));
        }
        let others = [
            "config.toml",
            "a.1-1.partial",
            ".partial",
            ".lock",
            ".a.1-1.part",
        ];
        for other in others
            .into_iter()
            .chain([".film.partial", ".film.1999.partial"])
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_being_written_is_left_alone_and_what_a_kill_left_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.json");
        let living = file::NewFile::begin(&target).unwrap();
        for dead in [".a.json.1-0.partial", ".b.json.1-0.partial"] {
            fs::write(dir.path().join(dead), "half").unwrap();
        }
        fs::create_dir_all(dir.path().join(".c.1-7.partial/inner")).unwrap();
        file::write(&target, |out| out.write_all(b"whole")).unwrap();
        assert_eq!(
            names(dir.path()).len(),
            4,
            "only a.json's own leftover is gone"
        );
        clear_where(dir.path(), |_| true);
        assert_eq!(names(dir.path()).len(), 2);
        living.commit().unwrap();
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    #[cfg(feature = "train")]
    fn what_was_replaced_by_nothing_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        for aside in [
            ".model.9-1.replaced",
            ".other.9-2.replaced",
            "checkpoint-5.replaced",
        ] {
            fs::create_dir(dir.path().join(aside)).unwrap();
            fs::write(dir.path().join(aside).join("w"), "old").unwrap();
        }
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join(".other.partial"), "half").unwrap();
        clear(dir.path());
        assert_eq!(names(dir.path()).len(), 4, "those of earlier versions stay");
        clear_own(dir.path());
        assert_eq!(names(dir.path()), ["checkpoint-5", "model", "other"]);
        assert_eq!(fs::read(dir.path().join("model/w")).unwrap(), b"old");
        assert!(names(&dir.path().join("other")).is_empty());
    }
}
