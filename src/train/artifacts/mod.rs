//! What a run leaves on disk.
//!
//! ```text
//! runs/demo-001/
//!   config.toml            the resolved run file
//!   fingerprint.json       settings and digests of the data that the run was begun with
//!   metrics.jsonl          every loss and evaluation, one JSON object per line
//!   loss-pretrain.svg, loss-finetune.svg, and measure-….svg of the evaluations
//!   results.json           the report's table
//!   report.html            all of it to look at
//!   lm-lstm.1/             one folder per unit (stage, and repeat where it repeats)
//!     events.out.tfevents… for TensorBoard
//!     checkpoint-120/      tensors.safetensors, trainer.json, SHA256SUMS
//!     model/               model.safetensors, config.json, tokenizer.json, README.md (its card)
//!     analysis.json        worst answers, what was cut off
//!     done.json            the unit's result; a unit that has one is not run again
//!   .lock                  held by the process that works here
//! ```

pub mod analysis;
pub mod card;
pub mod checkpoints;
pub mod curves;
pub mod fingerprint;
mod lock;
pub mod log;
pub mod runs;
pub mod tensorboard;
pub mod trace;

use std::fs;
use std::path::{Path, PathBuf};

use super::config::{Overrides, RunConfig};
use super::task::{ModelFiles, Unit};
use crate::atomic::{self, NewFolder, write_file};
use crate::error::{Error, Result};
use crate::hub;
use lock::Lock;

const CONFIG: &str = "config.toml";

/// The report to look at.
pub const REPORT: &str = "report.html";

/// Names in a run's folder that no stage can have.
pub const OWN_NAMES: [&str; 10] = [
    CONFIG,
    fingerprint::FINGERPRINT,
    "metrics.jsonl",
    "results.json",
    REPORT,
    "loss-pretrain.svg",
    "loss-finetune.svg",
    "measure-pretrain.svg",
    "measure-finetune.svg",
    // Of a user who has no folder for caches.
    "cache",
];

/// A run's folder, in which no other process works.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: Lock,
}

impl RunFolder {
    /// Makes the folder of a new run and writes its `config.toml`: `out`, or the first free
    /// `runs/NAME-001`, `-002`, …. One that a kill left without any file of a run counts as free.
    ///
    /// # Errors
    /// [`Error::Folder`] where `out` already holds something, or another process is about to use it;
    /// [`Error::Io`], [`Error::DiskFull`].
    pub fn create(config: &RunConfig, out: Option<&Path>) -> Result<Self> {
        let folder = match out {
            Some(out) => match Self::claim(out)? {
                Claim::Free(folder) => folder,
                Claim::Held => return Err(Lock::held(out)),
                Claim::Full => {
                    return Err(Error::Folder {
                        path: out.to_path_buf(),
                        problem: "is not empty; give another folder with --out, or continue the run in it with --resume".into(),
                    });
                }
            },
            None => Self::first_free(Path::new("runs"), &config.name)?,
        };
        atomic::clear(&folder.path);
        write_file(&folder.path.join(CONFIG), config.to_toml()?.as_bytes())?;
        Ok(folder)
    }

    fn first_free(runs: &Path, name: &str) -> Result<Self> {
        let mut number = 1u64;
        loop {
            let path = runs.join(format!("{name}-{number:03}"));
            // Locking is also the check, so that two runs at once get two folders.
            match Self::claim(&path)? {
                Claim::Free(folder) => return Ok(folder),
                Claim::Held | Claim::Full => number += 1,
            }
        }
    }

    /// Takes a folder, made if need be, in which no run has begun.
    fn claim(path: &Path) -> Result<Claim> {
        if path.is_file() {
            return Ok(Claim::Full);
        }
        fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))?;
        // Nothing is written to a folder of somebody else's.
        if !Lock::is_in(path) && !is_unbegun(path)? {
            return Ok(Claim::Full);
        }
        let Some(lock) = Lock::take(path)? else {
            return Ok(Claim::Held);
        };
        Ok(if is_unbegun(path)? {
            Claim::Free(Self {
                path: path.to_path_buf(),
                _lock: lock,
            })
        } else {
            Claim::Full
        })
    }

    /// Removes a folder in which nothing has been trained.
    pub fn discard(self) {
        if let Err(e) = self.remove() {
            ::log::warn!("cannot remove {}: {e}", self.path.display());
        }
    }

    /// `config.toml` goes last: until then this is a run to go on with, and then a folder to begin in.
    fn remove(&self) -> std::io::Result<()> {
        let config = self.path.join(CONFIG);
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else if path != config && !path.file_name().is_some_and(Lock::is_name) {
                fs::remove_file(path)?;
            }
        }
        fs::remove_file(config)?;
        fs::remove_file(Lock::path(&self.path))?;
        // Fails where another run has begun here by now, and rightly so.
        fs::remove_dir(&self.path)
    }

    /// Opens the folder of an earlier run, with its configuration.
    ///
    /// # Errors
    /// [`Error::Folder`] where it is none, or another process works in it; the `Config…` errors.
    pub fn open(path: &Path) -> Result<(Self, RunConfig)> {
        let config = path.join(CONFIG);
        if !config.is_file() {
            let empty = path.is_dir() && is_unbegun(path)?;
            return Err(Error::Folder {
                path: path.to_path_buf(),
                problem: if empty {
                    "is not a run folder (it has no config.toml): a run that was to begin here was stopped before its first step; begin it again with --out".into()
                } else {
                    "is not a run folder (it has no config.toml)".into()
                },
            });
        }
        let lock = Lock::take(path)?.ok_or_else(|| Lock::held(path))?;
        atomic::clear_own(path);
        let config = RunConfig::read(&config, &Overrides::default())?;
        let folder = Self {
            path: path.to_path_buf(),
            _lock: lock,
        };
        Ok((folder, config))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// A unit's folder.
    pub fn unit(&self, unit: &Unit) -> PathBuf {
        self.path.join(&unit.name)
    }

    /// A unit's final model.
    pub fn model(&self, unit: &Unit) -> PathBuf {
        self.unit(unit).join("model")
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }
}

/// What a run was told to do, by its folder; it may be running.
///
/// # Errors
/// [`Error::Folder`] where it is none; the `Config…` errors.
pub fn config_of(folder: &Path) -> Result<RunConfig> {
    let config = folder.join(CONFIG);
    if !config.is_file() {
        let problem = "is not a run folder (it has no config.toml)";
        return Err(Error::folder(folder, problem));
    }
    RunConfig::read(&config, &Overrides::default())
}

/// What a folder is to a run that would begin in it.
enum Claim {
    /// Its own.
    Free(RunFolder),
    /// Another process's.
    Held,
    /// Used already.
    Full,
}

/// Whether a folder holds nothing but what a run has before its first file is there.
fn is_unbegun(path: &Path) -> Result<bool> {
    let failed = |e| Error::io("read", path, e);
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let is_own = Lock::is_name(&name) || atomic::is_leftover_of(&name, CONFIG);
        if !is_own {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a model's folder.
///
/// # Errors
/// [`Error::Io`] or [`Error::DiskFull`], those of [`hub`]; an older model stays.
pub fn write_model(path: &Path, model: &ModelFiles) -> Result<()> {
    let folder = NewFolder::begin(path)?;
    match model {
        ModelFiles::Model(model) => {
            hub::write(&folder, model, &hub::SaveOptions::default())?;
        }
        ModelFiles::Own(files) => write_all(&folder, files)?,
        ModelFiles::Adapter {
            config,
            layout,
            weights,
            companions,
        } => {
            hub::adapter::write(&folder, config, layout, weights)?;
            write_all(&folder, companions)?;
        }
    }
    folder.commit()
}

fn write_all(folder: &NewFolder, files: &[(String, Vec<u8>)]) -> Result<()> {
    let mut files = files.iter();
    files.try_for_each(|(name, content)| folder.file(name, |out| out.write_all(content)))
}
