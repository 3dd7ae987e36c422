//! Files and folders that are there whole or not at all.
//!
//! Everything is written under a hidden name beside its target, synchronised to the disk, then renamed.
//! A failure on the way (a full disk above all) removes the partial copy and leaves what was there
//! before; a kill leaves it, and it goes with the next write of the same target: see [`leftovers`].

mod file;
#[cfg(feature = "train")]
mod folder;
mod leftovers;
#[cfg(feature = "train")]
mod seal;

use std::io;
use std::path::Path;

pub use file::write;
#[cfg(feature = "gpu")]
pub use file::write_file;
#[cfg(feature = "train")]
pub use file::{NewFile, write_file_with};
#[cfg(feature = "train")]
pub use folder::{NewFolder, remove_folder};
#[cfg(feature = "train")]
pub use leftovers::{clear, clear_own, is_leftover_of};
#[cfg(feature = "fetch")]
pub(crate) use seal::digest;
#[cfg(feature = "train")]
pub use seal::{SUMS, check_seal};

/// Makes a rename survive a power cut. Only Unix can synchronise a folder.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        std::fs::File::open(folder)?.sync_all()
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

#[cfg(test)]
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
