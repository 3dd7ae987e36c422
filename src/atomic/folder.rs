//! A folder of files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::leftovers::{PARTIAL, REPLACED, clear_of, neighbour};
use super::{parent, sync_folder};
use crate::error::{Error, Result};

/// A folder being written; it appears under its name at [`commit`](Self::commit).
#[derive(Debug)]
pub struct NewFolder {
    target: PathBuf,
    temporary: PathBuf,
    /// Says that it is being written.
    _held: Option<File>,
}

/// A lock on a folder, where there are such.
fn hold(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    let _ = file.lock();
    Some(file)
}

impl NewFolder {
    /// Begins a folder that will stand at `target`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn begin(target: &Path) -> Result<Self> {
        clear_of(target);
        let temporary = neighbour(target, PARTIAL);
        let held = loop {
            fs::create_dir_all(&temporary).map_err(|e| Error::io("create", target, e))?;
            let held = hold(&temporary);
            // Between the two lines above it may have been taken for a leftover.
            if temporary.exists() {
                break held;
            }
        };
        Ok(Self {
            target: target.to_path_buf(),
            temporary,
            _held: held,
        })
    }

    /// Where the folder will stand.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Where it stands while it is written.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Writes one file of the folder; `name` may lead through folders inside it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`], naming the file as it would have been called.
    pub fn file(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let path = self.temporary.join(name);
        fs::create_dir_all(parent(&path))
            .and_then(|()| create(&path, fill))
            .map_err(|e| Error::write(self.target.join(name), e))
    }

    /// Gives the folder its name, in place of any older one.
    ///
    /// # Errors
    /// [`Error::Io`]; the older folder stays or comes back.
    pub fn commit(self) -> Result<()> {
        let target = &self.target;
        let failed = |e| Error::write(target, e);
        sync_folder(&self.temporary).map_err(failed)?;
        // A folder cannot be renamed over another one: step the old one aside first.
        let aside = neighbour(target, REPLACED);
        let older = target.exists().then(|| hold(target));
        if older.is_some() {
            fs::rename(target, &aside).map_err(failed)?;
        }
        if let Err(e) = fs::rename(&self.temporary, target) {
            if older.is_some() {
                let _ = fs::rename(&aside, target);
            }
            return Err(failed(e));
        }
        if older.is_some() {
            fs::remove_dir_all(&aside).map_err(failed)?;
        }
        sync_folder(parent(target)).map_err(failed)
    }

    /// Gives the folder its name, unless another process was first with the same content.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit_unless_there(self) -> Result<()> {
        use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty};
        sync_folder(&self.temporary)
            .and_then(|()| match fs::rename(&self.temporary, &self.target) {
                Err(e) if matches!(e.kind(), AlreadyExists | DirectoryNotEmpty) => Ok(()),
                other => other,
            })
            .and_then(|()| sync_folder(parent(&self.target)))
            .map_err(|e| Error::write(&self.target, e))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After `commit` there is nothing under this name.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

fn create(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    fill(&mut out)?;
    out.into_inner().map_err(|e| e.into_error())?.sync_all()
}

/// Removes a folder: nobody ever sees half of it under its name.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_folder(path: &Path) -> Result<()> {
    let going = neighbour(path, PARTIAL);
    fs::rename(path, &going)
        .and_then(|()| fs::remove_dir_all(&going))
        .map_err(|e| Error::io("remove", path, e))
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn a_full_disk_leaves_no_half_folder() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("checkpoint-5");
        let folder = NewFolder::begin(&target).unwrap();
        folder
            .file("trainer.json", |out| out.write_all(b"{}"))
            .unwrap();
        let error = folder
            .file("tensors.safetensors", |_| {
                Err(io::ErrorKind::StorageFull.into())
            })
            .unwrap_err();
        drop(folder);
        assert!(error.to_string().contains("checkpoint-5"), "{error}");
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_folder_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        // Names that differ only after their last dot do not meet.
        let target = dir.path().join("model.1");
        fs::create_dir(dir.path().join("model.2")).unwrap();
        for content in [b"one", b"two"] {
            let folder = NewFolder::begin(&target).unwrap();
            folder.file("a", |out| out.write_all(content)).unwrap();
            folder.commit().unwrap();
        }
        assert_eq!(fs::read(target.join("a")).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["model.1", "model.2"]);
    }

    #[test]
    fn a_folder_is_removed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("checkpoint-5");
        fs::create_dir_all(target.join("inner")).unwrap();
        remove_folder(&target).unwrap();
        assert!(names(dir.path()).is_empty());
        assert!(remove_folder(&target).is_err());
    }
}
