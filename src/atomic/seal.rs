//! Folders that carry the digests of their files, as `sha256sum -c SHA256SUMS` checks them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::NewFolder;
use crate::bounded;
use crate::error::{Error, Result};

/// The file of digests.
pub const SUMS: &str = "SHA256SUMS";

impl NewFolder {
    /// Writes the digests of all files written so far; see [`check_seal`].
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`].
    pub fn seal(&self) -> Result<()> {
        let sums = sums(self.path()).map_err(|e| Error::read(self.target(), e))?;
        self.file(SUMS, |out| out.write_all(sums.as_bytes()))
    }
}

/// A line for each file of a folder, ordered by name: its digest, two spaces, its name.
fn sums(folder: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != SUMS && entry.file_type()?.is_file() {
            let digest = digest(&entry.path())?;
            lines.push((name, digest));
        }
    }
    lines.sort_unstable();
    let line = |(name, digest): &(String, String)| format!("{digest}  {name}\n");
    Ok(lines.iter().map(line).collect())
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn digest(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let bytes = hasher.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks that a sealed folder holds the files that it was sealed with, and no others.
///
/// # Errors
/// [`Error::Folder`] naming the first file that is damaged, missing or strange; [`Error::Io`].
pub fn check_seal(folder: &Path) -> Result<()> {
    let path = folder.join(SUMS);
    let damaged = |name: &str, problem: &str| Error::Folder {
        path: folder.join(name),
        problem: problem.into(),
    };
    let Some(written) = bounded::read_if_there(&path, bounded::SETTINGS)? else {
        return Err(damaged(SUMS, "is missing, so nothing here can be trusted"));
    };
    let found = sums(folder).map_err(|e| Error::read(folder, e))?;
    if written == found.as_bytes() {
        return Ok(());
    }
    let written = String::from_utf8_lossy(&written);
    let name = |line: &str| line.split_once("  ").map(|(_, name)| name.to_string());
    let names = |text: &str| text.lines().filter_map(name).collect::<Vec<_>>();
    let (was, is) = (names(&written), names(&found));
    if let Some(missing) = was.iter().find(|name| !is.contains(name)) {
        return Err(damaged(missing, "is missing"));
    }
    let other = found
        .lines()
        .find(|line| !written.lines().any(|w| w == *line));
    match other.and_then(name) {
        Some(file) if was.contains(&file) => Err(damaged(
            &file,
            "is damaged: its bytes are not those that were written (SHA-256)",
        )),
        Some(file) => Err(damaged(&file, "was not there when the folder was written")),
        None => Err(damaged(SUMS, "is damaged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_damage_a_sealed_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("sealed");
        let folder = NewFolder::begin(&target).unwrap();
        folder.file("a", |out| out.write_all(b"abc")).unwrap();
        folder
            .file("b", |out| out.write_all(&[7; 3 << 20]))
            .unwrap();
        folder.seal().unwrap();
        folder.commit().unwrap();
        check_seal(&target).unwrap();
        // FIPS 180-2, appendix B.1
        let sums = fs::read_to_string(target.join(SUMS)).unwrap();
        assert!(
            sums.starts_with(
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n"
            )
        );

        let says = |expected: &str| {
            let error = check_seal(&target).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let change = |name: &str, content: &[u8], expected: &str| {
            let path = target.join(name);
            let old = fs::read(&path).ok();
            fs::write(&path, content).unwrap();
            says(expected);
            match old {
                Some(old) => fs::write(&path, old).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            check_seal(&target).unwrap();
        };
        change("a", b"abd", "sealed/a: is damaged");
        change("b", &[7; (3 << 20) - 1], "sealed/b: is damaged");
        change("c", b"", "sealed/c: was not there");
        change(SUMS, b"", "sealed/a: was not there");
        change(SUMS, b"\xff\xfe", "sealed/a: was not there");
        let more = format!("{sums}\n");
        change(SUMS, more.as_bytes(), "SHA256SUMS: is damaged");
        fs::remove_file(target.join("a")).unwrap();
        says("sealed/a: is missing");
        fs::remove_file(target.join(SUMS)).unwrap();
        says("SHA256SUMS: is missing");
    }
}
