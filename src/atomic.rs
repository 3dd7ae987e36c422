//! Files and folders that are there whole or not at all.
//!
//! Everything is written under a hidden name beside its target, which ends in `.partial`,
//! synchronised to the disk, then renamed. A failure on the way (a full disk above all) removes the
//! partial copy and leaves what was there before.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The hidden neighbour that `target` is written as.
fn partial(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.partial"))
}

/// Makes a rename survive a power cut. Only Unix can synchronise a folder.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes one file atomically.
///
/// # Errors
/// [`Error::Io`] or [`Error::DiskFull`]; the old content, if any, stays.
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    write_file_with(path, |out| out.write_all(content))
}

/// As [`write_file`], with a writer instead of bytes.
///
/// # Errors
/// As [`write_file`].
pub fn write_file_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    // Two processes may write one file, each a copy of its own.
    let temporary = partial(&path.with_added_extension(std::process::id().to_string()));
    let written = create(&temporary, fill)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(parent(path)));
    written.map_err(|e| {
        // Best effort: the error that matters is the one being reported.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path, e)
    })
}

fn create(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    fill(&mut out)?;
    out.into_inner().map_err(|e| e.into_error())?.sync_all()
}

/// A folder being written; it appears under its name at [`commit`](Self::commit).
#[derive(Debug)]
pub struct NewFolder {
    target: PathBuf,
    temporary: PathBuf,
}

impl NewFolder {
    /// Begins a folder that will stand at `target`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn begin(target: &Path) -> Result<Self> {
        let temporary = partial(target);
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(|e| Error::io("remove", &temporary, e))?;
        }
        fs::create_dir_all(&temporary).map_err(|e| Error::io("create", target, e))?;
        Ok(Self {
            target: target.to_path_buf(),
            temporary,
        })
    }

    /// Where the folder will stand.
    pub fn target(&self) -> &Path {
        &self.target
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
            .map_err(|e| Error::io("write", self.target.join(name), e))
    }

    /// Gives the folder its name, in place of any older one.
    ///
    /// # Errors
    /// [`Error::Io`]; the older folder stays or comes back.
    pub fn commit(self) -> Result<()> {
        let target = &self.target;
        let failed = |e| Error::io("write", target, e);
        sync_folder(&self.temporary).map_err(failed)?;
        // A folder cannot be renamed over another one: step the old one aside first.
        let aside = target.with_extension("replaced");
        let replaces = target.exists();
        if replaces {
            let _ = fs::remove_dir_all(&aside);
            fs::rename(target, &aside).map_err(failed)?;
        }
        if let Err(e) = fs::rename(&self.temporary, target) {
            if replaces {
                let _ = fs::rename(&aside, target);
            }
            return Err(failed(e));
        }
        if replaces {
            fs::remove_dir_all(&aside).map_err(failed)?;
        }
        sync_folder(parent(target)).map_err(failed)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After `commit` there is nothing under this name.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        write_file(&path, b"old").unwrap();
        let error = write_file_with(&path, |out| {
            out.write_all(&[0; 3 << 20])?;
            Err(full())
        })
        .unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("the disk is full: cannot write"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["results.json"]);
    }

    #[test]
    fn a_full_disk_leaves_no_half_folder() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("checkpoint-5");
        let folder = NewFolder::begin(&target).unwrap();
        folder
            .file("trainer.json", |out| out.write_all(b"{}"))
            .unwrap();
        let error = folder
            .file("tensors.safetensors", |_| Err(full()))
            .unwrap_err();
        drop(folder);
        assert!(error.to_string().contains("checkpoint-5"), "{error}");
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_folder_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("model");
        for content in [b"one", b"two"] {
            let folder = NewFolder::begin(&target).unwrap();
            folder.file("a", |out| out.write_all(content)).unwrap();
            folder.commit().unwrap();
        }
        assert_eq!(fs::read(target.join("a")).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["model"]);
    }

    #[test]
    fn a_device_without_room_is_a_full_disk() {
        // Linux's own full disk. The rename would replace the device, so write to it directly.
        if Path::new("/dev/full").exists() {
            let e = create(Path::new("/dev/full"), |out| out.write_all(&[0; 4 << 20])).unwrap_err();
            assert!(matches!(
                Error::io("write", "/dev/full", e),
                Error::DiskFull { .. }
            ));
        }
    }
}
