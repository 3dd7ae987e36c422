//! The checkpoints of one unit: `checkpoint-STEP/` folders and the pointers `last` and `best`.
//!
//! A pointer is a text file that holds a folder's name: unlike a symbolic link it works on every
//! file system and survives being copied.

use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic::{NewFolder, write_file};
use crate::error::{Error, Result};
use crate::train::state::{TensorMap, TrainerState, read_tensors, write_tensors};

const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "trainer.json";

/// Writes, finds and rotates checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The checkpoints in `folder`, of which the newest `keep` are kept.
    pub fn new(folder: &Path, keep: usize) -> Self {
        Self {
            folder: folder.to_path_buf(),
            keep: keep.max(1),
        }
    }

    /// Writes a checkpoint, makes it `last` (and `best`), and removes those that are too old.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`]; older checkpoints stay as they were.
    pub fn save(&self, tensors: &TensorMap, state: &TrainerState, best: bool) -> Result<PathBuf> {
        let name = format!("checkpoint-{}", state.step);
        let path = self.folder.join(&name);
        let folder = NewFolder::begin(&path)?;
        folder.file(TENSORS, |out| write_tensors(out, tensors))?;
        folder.file(STATE, |out| {
            serde_json::to_writer_pretty(&mut *out, state)?;
            out.write_all(b"\n")
        })?;
        folder.commit()?;
        self.point("last", &name)?;
        if best {
            self.point("best", &name)?;
        }
        self.rotate(self.keep)?;
        Ok(path)
    }

    fn point(&self, pointer: &str, name: &str) -> Result<()> {
        write_file(&self.folder.join(pointer), format!("{name}\n").as_bytes())
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// A pointer that cannot be read or points nowhere.
    pub fn last(&self) -> Result<Option<PathBuf>> {
        self.follow("last")
    }

    /// The checkpoint with the best validation score.
    ///
    /// # Errors
    /// A pointer that cannot be read or points nowhere.
    pub fn best(&self) -> Result<Option<PathBuf>> {
        self.follow("best")
    }

    fn follow(&self, pointer: &str) -> Result<Option<PathBuf>> {
        let path = self.folder.join(pointer);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let name = text.trim();
        let target = self.folder.join(name);
        // The name is checked so that a damaged pointer cannot lead out of the folder.
        if step_of(name).is_none() || !target.is_dir() {
            return Err(Error::Folder {
                path,
                problem: format!(
                    "points to '{name}', which is no checkpoint here; write the name of one of the \
                     checkpoint-STEP folders into it, or delete it to start this stage again"
                ),
            });
        }
        Ok(Some(target))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// A missing or malformed file, named.
    pub fn load(path: &Path) -> Result<(TensorMap, TrainerState)> {
        let state_path = path.join(STATE);
        let text =
            fs::read_to_string(&state_path).map_err(|e| Error::io("read", &state_path, e))?;
        let state = serde_json::from_str(&text).map_err(|e| Error::Folder {
            path: state_path,
            problem: format!("is not the state of a training run: {e}"),
        })?;
        Ok((read_tensors(&path.join(TENSORS))?, state))
    }

    /// Removes all but the newest `keep` checkpoints, the last and the best.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rotate(&self, keep: usize) -> Result<()> {
        let entries = fs::read_dir(&self.folder).map_err(|e| Error::io("read", &self.folder, e))?;
        let mut found: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((step_of(path.file_name()?.to_str()?)?, path))
            })
            .collect();
        found.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
        let pinned = [self.last()?, self.best()?];
        for (_, path) in found.into_iter().skip(keep) {
            if !pinned.iter().flatten().any(|p| *p == path) {
                fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(())
    }
}

/// The step in `checkpoint-STEP`.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("checkpoint-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Array;

    fn state(step: u64) -> TrainerState {
        TrainerState {
            unit: "lm".into(),
            step,
            tokens: 10 * step,
            train_seconds: 0.5,
            seconds: 1.0,
            seed: 3,
            evaluated: true,
            best: None,
            loss: Some(0.1),
            position: serde_json::json!({ "epoch": 0, "batch": step }),
        }
    }

    fn tensors(x: f32) -> TensorMap {
        TensorMap::from([("w".to_string(), Array::whole(&[2], vec![x, 1.0]))])
    }

    fn kept(folder: &Path) -> Vec<u64> {
        let mut steps: Vec<u64> = fs::read_dir(folder)
            .unwrap()
            .filter_map(|e| step_of(e.unwrap().file_name().to_str().unwrap()))
            .collect();
        steps.sort();
        steps
    }

    #[test]
    fn rotation_keeps_the_newest_and_the_best() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path(), 2);
        assert!(checkpoints.last().unwrap().is_none());
        for step in [5, 10, 15, 20, 25, 100] {
            checkpoints
                .save(&tensors(step as f32), &state(step), step == 10)
                .unwrap();
        }
        assert_eq!(kept(dir.path()), [10, 25, 100]);
        assert_eq!(
            checkpoints.best().unwrap().unwrap(),
            dir.path().join("checkpoint-10")
        );
        let (t, s) = Checkpoints::load(&checkpoints.last().unwrap().unwrap()).unwrap();
        assert_eq!((t, s), (tensors(100.0), state(100)));
    }

    #[test]
    fn a_pointer_cannot_lead_out_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path(), 2);
        for name in ["../elsewhere", "checkpoint-7", ""] {
            fs::write(dir.path().join("last"), name).unwrap();
            let error = checkpoints.last().unwrap_err().to_string();
            assert!(error.contains("no checkpoint here"), "{error}");
        }
    }

    #[test]
    fn a_damaged_state_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path(), 2);
        let path = checkpoints.save(&tensors(1.0), &state(5), false).unwrap();
        fs::write(path.join(STATE), "{").unwrap();
        let error = Checkpoints::load(&path).unwrap_err().to_string();
        assert!(
            error.contains("trainer.json: is not the state of a training run"),
            "{error}"
        );
    }
}
