//! What a run leaves on disk.
//!
//! ```text
//! runs/demo-001/
//!   config.toml            the resolved run file
//!   metrics.jsonl          every loss and evaluation, one JSON object per line
//!   loss-pretrain.svg, loss-finetune.svg
//!   results.json           the report's table
//!   lm-lstm.1/             one folder per unit (stage, and repeat where it repeats)
//!     events.out.tfevents… for TensorBoard
//!     checkpoint-120/      tensors.safetensors, trainer.json
//!     last, best           pointers: a checkpoint's name
//!     model/               model.safetensors, config.json, tokenizer.json
//!     done.json            the unit's result; a unit that has one is not run again
//! ```

pub mod checkpoints;
pub mod curves;
pub mod log;
pub mod tensorboard;
pub mod trace;

use std::fs;
use std::path::{Path, PathBuf};

use super::config::{Overrides, RunConfig};
use super::task::{ModelFiles, Unit};
use crate::atomic::{NewFolder, write_file};
use crate::error::{Error, Result};
use crate::hub;

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run and writes its `config.toml`: `out`, or the first free
    /// `runs/NAME-001`, `-002`, ….
    ///
    /// # Errors
    /// [`Error::Folder`] where `out` already holds something; [`Error::Io`], [`Error::DiskFull`].
    pub fn create(config: &RunConfig, out: Option<&Path>) -> Result<Self> {
        let path = match out {
            Some(out) => {
                fs::create_dir_all(out).map_err(|e| Error::io("create", out, e))?;
                let mut entries = fs::read_dir(out).map_err(|e| Error::io("read", out, e))?;
                if entries.next().is_some() {
                    return Err(Error::Folder {
                        path: out.to_path_buf(),
                        problem: "is not empty; give another folder with --out, or continue the run in it with --resume".into(),
                    });
                }
                out.to_path_buf()
            }
            None => Self::free(Path::new("runs"), &config.name)?,
        };
        write_file(&path.join("config.toml"), config.to_toml()?.as_bytes())?;
        Ok(Self { path })
    }

    fn free(runs: &Path, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(runs).map_err(|e| Error::io("create", runs, e))?;
        let mut number = 1u64;
        loop {
            let path = runs.join(format!("{name}-{number:03}"));
            // Creating is also the check, so that two runs at once get two folders.
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(Error::io("create", path, e)),
            }
        }
    }

    /// Removes a folder in which nothing has been trained.
    pub fn discard(self) {
        if let Err(e) = fs::remove_dir_all(&self.path) {
            ::log::warn!("cannot remove {}: {e}", self.path.display());
        }
    }

    /// Opens the folder of an earlier run, with its configuration.
    ///
    /// # Errors
    /// [`Error::Folder`] where it is none; the `Config…` errors.
    pub fn open(path: &Path) -> Result<(Self, RunConfig)> {
        let config = path.join("config.toml");
        if !config.is_file() {
            return Err(Error::Folder {
                path: path.to_path_buf(),
                problem: "is not a run folder (it has no config.toml)".into(),
            });
        }
        Ok((
            Self {
                path: path.to_path_buf(),
            },
            RunConfig::read(&config, &Overrides::default())?,
        ))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
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
