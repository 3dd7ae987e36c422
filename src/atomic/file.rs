//! One file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::leftovers::{PARTIAL, clear_of, neighbour};
use super::{parent, sync_folder};
#[cfg(feature = "gpu")]
use crate::error::{Error, Result};

/// A file being written; it appears under its name at [`commit`](Self::commit).
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
}

impl NewFile {
    /// Begins a file that will stand at `target`.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(target: &Path) -> io::Result<Self> {
        clear_of(target);
        let temporary = neighbour(target, PARTIAL);
        let file = loop {
            let file = File::create(&temporary)?;
            // Where files cannot be locked nobody takes them for leftovers either.
            let _ = file.lock();
            // Or somebody did, between the two lines above.
            if temporary.exists() {
                break file;
            }
        };
        Ok(Self {
            target: target.to_path_buf(),
            temporary,
            out: BufWriter::with_capacity(1 << 20, file),
        })
    }

    /// Gives the file its name, in place of any older one.
    ///
    /// # Errors
    /// The system's; the old content, if any, stays.
    pub fn commit(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        sync_folder(parent(&self.target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After `commit` there is nothing under this name.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Writes one file atomically.
///
/// # Errors
/// The system's; the old content, if any, stays.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = NewFile::begin(path)?;
    fill(&mut file)?;
    file.commit()
}

/// As [`write`].
///
/// # Errors
/// [`Error::Io`] or [`Error::DiskFull`].
#[cfg(feature = "gpu")]
pub fn write_file_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    write(path, fill).map_err(|e| Error::write(path, e))
}

/// As [`write_file_with`], with bytes instead of a writer.
///
/// # Errors
/// As [`write_file_with`].
#[cfg(feature = "gpu")]
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    write_file_with(path, |out| out.write_all(content))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.json");
        for (kind, said) in [
            (io::ErrorKind::StorageFull, "the disk is full: cannot write"),
            (
                io::ErrorKind::FileTooLarge,
                "the limit on the size of files is reached: cannot write",
            ),
        ] {
            write_file(&path, b"old").unwrap();
            let error = write_file_with(&path, |out| {
                out.write_all(&[0; 3 << 20])?;
                Err(kind.into())
            })
            .unwrap_err();
            assert!(matches!(error, Error::DiskFull { .. }), "{error}");
            assert!(error.to_string().starts_with(said), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(names(dir.path()), ["results.json"]);
        }
    }

    #[test]
    fn a_device_without_room_is_a_full_disk() {
        // Linux's own full disk. The rename would replace the device, so write to it directly.
        if let Ok(device) = File::create("/dev/full") {
            let mut out = BufWriter::new(device);
            let e = out.write_all(&[0; 4 << 20]).unwrap_err();
            assert!(matches!(
                Error::write("/dev/full", e),
                Error::DiskFull { .. }
            ));
        }
    }
}
