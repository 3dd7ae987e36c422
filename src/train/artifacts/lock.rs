//! One process at a time works in a run's folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::bounded;
use crate::error::{Error, Result};

/// Hidden, so that no stage can have its name.
const FILE: &str = ".lock";

/// Held by the process that works in a folder; it ends with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a folder; `None` where another process has it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn take(folder: &Path) -> Result<Option<Self>> {
        let path = Self::path(folder);
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::write(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => {
                log::warn!(
                    "{} cannot be locked ({e}); see to it that no second process works there",
                    folder.display()
                );
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|e| Error::write(&path, e))?;
        Ok(Some(Self { _file: file }))
    }

    /// The lock's file in a folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Whether a folder has a lock's file, held or not.
    pub fn is_in(folder: &Path) -> bool {
        Self::path(folder).is_file()
    }

    /// Whether a process holds the lock of a folder; it is not taken to know.
    pub fn is_held(folder: &Path) -> bool {
        let file = bounded::open(&Self::path(folder));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The refusal of a folder that another process has.
    pub fn held(folder: &Path) -> Error {
        let text = bounded::read_text(&Self::path(folder), 64).unwrap_or_default();
        let holder = match text.trim().parse::<u32>() {
            Ok(process) => format!("process {process}"),
            Err(_) => "another process".into(),
        };
        Error::Folder {
            path: folder.to_path_buf(),
            problem: format!(
                "{holder} is working in this run folder; wait until it ends, or stop it and go on with --resume"
            ),
        }
    }

    /// Whether a name in a folder is the lock's own.
    pub fn is_name(name: &std::ffi::OsStr) -> bool {
        name == FILE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap().unwrap();
        assert!(Lock::take(dir.path()).unwrap().is_none());
        let error = Lock::held(dir.path()).to_string();
        let process = format!("process {} is working", std::process::id());
        assert!(error.contains(&process), "{error}");
        drop(first);
        // What an ended process left is no obstacle.
        assert!(Lock::is_in(dir.path()));
        assert!(Lock::take(dir.path()).unwrap().is_some());
    }
}
