//! Kernels that `melos doctor` found wrong on an adapter: left out there from then on, as a file beside
//! the tuning table says, for this driver and this version of melos.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::adapter::Caps;
use super::rung::{self, Rung};
use super::tuning_table::Table;
use crate::atomic::write_file;
use crate::bounded;
use crate::cache::cache_folder;
use crate::error::{Error, Result};

/// What melos can do without: every operator has a kernel that needs none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optional {
    /// Broadcast within subgroups.
    Subgroup,
    /// Operands copied into images.
    Image,
    /// Products by register tiles over workgroup memory.
    Tile,
    /// Matrix units.
    Matrix,
    /// Activations and operands in 16-bit floats.
    F16,
}

impl Optional {
    fn of(rung: Rung) -> Option<Optional> {
        match rung {
            Rung::Portable => None,
            Rung::Subgroup => Some(Optional::Subgroup),
            Rung::Image => Some(Optional::Image),
            Rung::Tile => Some(Optional::Tile),
            Rung::Matrix => Some(Optional::Matrix),
        }
    }

    /// As in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Optional::Subgroup => "subgroup",
            Optional::Image => "image",
            Optional::Tile => "tile",
            Optional::Matrix => "matrix",
            Optional::F16 => "f16",
        }
    }
}

/// What was found wrong on one adapter with one driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    adapter: String,
    driver: String,
    melos: String,
    /// Left out from now on.
    pub left_out: BTreeSet<Optional>,
    /// Kernels that are wrong and that nothing can take the place of.
    pub wrong: BTreeSet<String>,
}

/// What melos leaves out on an adapter, as `melos doctor` found it wrong there.
pub fn left_out(caps: &Caps) -> Vec<&'static str> {
    Findings::kept(caps).names()
}

impl Findings {
    /// Nothing wrong on this adapter.
    pub(super) fn of(caps: &Caps) -> Findings {
        let Table {
            adapter,
            driver,
            melos,
            ..
        } = Table::of(caps);
        Findings {
            adapter,
            driver,
            melos,
            ..Findings::default()
        }
    }

    fn path(caps: &Caps) -> Option<PathBuf> {
        let name = format!("doctor-{}", Table::of(caps).file_name());
        cache_folder().map(|folder| folder.join("tuning").join(name))
    }

    /// What is kept of this adapter. A file that cannot be read counts for nothing, and is said.
    pub(super) fn kept(caps: &Caps) -> Findings {
        let none = Findings::of(caps);
        let Some(path) = Findings::path(caps) else {
            return none;
        };
        let found = match bounded::read_text(&path, bounded::SETTINGS) {
            Ok(text) => toml::from_str::<Findings>(&text).map_err(|e| e.to_string()),
            Err(Error::FileMissing { .. }) => return none,
            Err(e) => Err(e.to_string()),
        };
        match found {
            Ok(found) => found,
            Err(why) => {
                let path = path.display();
                log::warn!(
                    "'{path}' cannot be read ({}); `melos doctor` makes it anew",
                    why.trim_end()
                );
                none
            }
        }
    }

    /// Keeps them, or forgets what was kept where nothing is wrong; the file, where there is a folder
    /// for it and something to keep.
    pub(super) fn keep(&self, caps: &Caps) -> Result<Option<PathBuf>> {
        let Some(path) = Findings::path(caps) else {
            return Ok(None);
        };
        if self.is_empty() {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::write(&path, e)),
                _ => Ok(None),
            };
        }
        let text = toml::to_string(self).map_err(|e| Error::write(&path, io::Error::other(e)))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        }
        write_file(&path, text.as_bytes())?;
        Ok(Some(path))
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.left_out.is_empty() && self.wrong.is_empty()
    }

    /// What is left out, by name.
    pub fn names(&self) -> Vec<&'static str> {
        self.left_out.iter().map(|part| part.name()).collect()
    }

    /// The adapter without what is left out.
    pub(super) fn without(&self, caps: &Caps) -> Caps {
        let has = |part| !self.left_out.contains(&part);
        Caps {
            subgroup: caps.subgroup && has(Optional::Subgroup),
            images: caps.images && has(Optional::Image),
            tiles: caps.tiles && has(Optional::Tile),
            matrix: caps.matrix.filter(|_| has(Optional::Matrix)),
            f16: caps.f16 && has(Optional::F16),
            ..caps.clone()
        }
    }

    /// Says at the start what is left out, and refuses to be forced.
    pub(super) fn announce(&self, forced: Option<Rung>) -> Result<()> {
        if !self.left_out.is_empty() {
            log::warn!(
                "left out on {}, as `melos doctor` found them wrong there: {} kernels",
                self.adapter,
                self.names().join(", ")
            );
        }
        if !self.wrong.is_empty() {
            let wrong: Vec<&str> = self.wrong.iter().map(String::as_str).collect();
            log::warn!(
                "`melos doctor` found kernels wrong on {} that nothing can take the place of: {}. Do not \
                 trust results of this adapter; another driver or `--adapter` may help",
                self.adapter,
                wrong.join(", ")
            );
        }
        let part = forced.and_then(Optional::of);
        match part.filter(|part| self.left_out.contains(part)) {
            None => Ok(()),
            Some(part) => Err(rung::wrong(
                part.name(),
                "another rung: `melos doctor` found this one wrong on this adapter",
            )),
        }
    }
}
