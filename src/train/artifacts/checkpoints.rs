//! The checkpoints of one unit: `checkpoint-STEP/` folders.
//!
//! A checkpoint is there, whole, from the one rename that gives it its name. The last one is that of the
//! highest step; which one is the best stands in the state of the last. Each carries the digests of its
//! files, and is held to them when it is read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic::{NewFolder, SUMS, check_seal, remove_folder};
use crate::bounded;
use crate::error::{Error, Result};
use crate::train::state::{TensorMap, TrainerState, read_tensors, write_tensors};

const TENSORS: &str = "tensors.safetensors";
const STATE: &str = "trainer.json";

/// Writes, finds and rotates checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    last_good: bool,
}

/// A checkpoint to go on from.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Its tensors.
    pub tensors: TensorMap,
    /// Everything else.
    pub state: TrainerState,
    /// Those that are damaged, under the names that they have now.
    pub set_aside: Vec<PathBuf>,
    /// The best one is among them: the best from now on counts.
    pub best_is_lost: bool,
}

type Loaded = (TensorMap, TrainerState);

impl Checkpoints {
    /// The checkpoints in `folder`, of which the newest `keep` are kept.
    pub fn new(folder: &Path, keep: usize) -> Self {
        Self {
            folder: folder.to_path_buf(),
            keep: keep.max(1),
            last_good: false,
        }
    }

    /// Whether the newest good one is taken where the last is damaged, instead of refusing.
    pub fn from_last_good(self, last_good: bool) -> Self {
        Self { last_good, ..self }
    }

    /// The unit's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a checkpoint, which is the last one from now on, and removes those that are too old.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::DiskFull`]; older checkpoints stay as they were.
    pub fn save(&self, tensors: &TensorMap, state: &TrainerState) -> Result<PathBuf> {
        let path = self.at(state.step);
        let folder = NewFolder::begin(&path)?;
        folder.file(TENSORS, |out| write_tensors(out, tensors))?;
        folder.file(STATE, |out| {
            serde_json::to_writer_pretty(&mut *out, state)?;
            out.write_all(b"\n")
        })?;
        folder.seal()?;
        folder.commit()?;
        self.rotate(self.keep, state)?;
        Ok(path)
    }

    fn at(&self, step: u64) -> PathBuf {
        self.folder.join(format!("checkpoint-{step}"))
    }

    /// The steps that there are checkpoints of, the newest first.
    fn steps(&self) -> Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::read(&self.folder, e)),
        };
        let step = |entry: std::io::Result<fs::DirEntry>| {
            step_of(entry.ok()?.path().file_name()?.to_str()?)
        };
        let mut steps: Vec<u64> = entries.filter_map(step).collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    /// All of them, the newest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn all(&self) -> Result<Vec<PathBuf>> {
        let steps = self.steps()?;
        Ok(steps.into_iter().map(|step| self.at(step)).collect())
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last(&self) -> Result<Option<PathBuf>> {
        Ok(self.steps()?.first().map(|step| self.at(*step)))
    }

    /// The checkpoint with the best validation score, as `state` knows it.
    pub fn best(&self, state: &TrainerState) -> Option<PathBuf> {
        state.best.map(|(_, step)| self.at(step))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::TensorFile`] naming what is damaged; [`Error::Io`].
    pub fn load(path: &Path) -> Result<Loaded> {
        let state = Self::state(path)?;
        Ok((Self::tensors(path)?, state))
    }

    /// The state of a checkpoint, whose files have been held to their digests.
    fn state(path: &Path) -> Result<TrainerState> {
        let damaged = |problem: String| Error::Folder {
            path: path.join(STATE),
            problem,
        };
        let sealed = path.join(SUMS).exists();
        if sealed {
            check_seal(path)?;
        }
        let text = bounded::read(&path.join(STATE), bounded::SETTINGS)?;
        let state: TrainerState = bounded::json(&text)
            .map_err(|e| damaged(format!("is not the state of a training run: {e}")))?;
        // Those of the time before seals say so by what they do not say.
        if state.sealed && !sealed {
            check_seal(path)?;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        if name.and_then(step_of) != Some(state.step) {
            return Err(damaged(format!("is the state of step {}", state.step)));
        }
        Ok(state)
    }

    fn tensors(path: &Path) -> Result<TensorMap> {
        let file = path.join(TENSORS);
        let tensors = read_tensors(&file)?;
        for (name, tensor) in &tensors {
            // None is ever saved with one.
            if let Some(value) = tensor.first_not_finite() {
                return Err(Error::TensorFile {
                    file,
                    tensor: Some(name.clone()),
                    problem: format!("is damaged: it holds {value}"),
                });
            }
        }
        Ok(tensors)
    }

    /// Reads a checkpoint, after it has seen to it that the best one that it speaks of is whole too.
    fn load_with_best(&self, step: u64) -> Result<Loaded> {
        let path = self.at(step);
        let state = Self::state(&path)?;
        if let Some(best) = self.best(&state).filter(|best| *best != path)
            && !Self::state(&best)?.sealed
        {
            Self::tensors(&best)?;
        }
        Ok((Self::tensors(&path)?, state))
    }

    /// Reads the last checkpoint; or, with [`from_last_good`](Self::from_last_good), the newest that is
    /// not damaged, and sets those after it aside. `None` where there is none at all.
    ///
    /// # Errors
    /// [`Error::Folder`] naming the damage and what there is instead; [`Error::Io`].
    pub fn resume(&self) -> Result<Option<Checkpoint>> {
        let steps = self.steps()?;
        let Some(&last) = steps.first() else {
            return Ok(None);
        };
        let damage = match self.load_with_best(last) {
            Ok((tensors, state)) => {
                return Ok(Some(Checkpoint {
                    path: self.at(last),
                    tensors,
                    state,
                    set_aside: Vec::new(),
                    best_is_lost: false,
                }));
            }
            Err(error) if is_damage(&error) => error,
            Err(error) => return Err(error),
        };
        let run = self.folder.parent().unwrap_or(&self.folder).display();
        let problem = match self.newest_good(&steps) {
            Some((step, (tensors, state), lost)) if self.last_good => {
                let damaged = steps.iter().filter(|&&s| s > step || Some(s) == lost);
                return Ok(Some(Checkpoint {
                    path: self.at(step),
                    tensors,
                    state,
                    set_aside: damaged.map(|s| self.set_aside(*s)).collect::<Result<_>>()?,
                    best_is_lost: lost.is_some(),
                }));
            }
            Some((step, _, lost)) => format!(
                "the newest good one is checkpoint-{step}{}; go on from it with `melos train --resume {run} --from-last-good`",
                if lost.is_some() {
                    ", without the best one so far"
                } else {
                    ""
                }
            ),
            None => format!(
                "there is no other good one; delete {} to train this stage again",
                self.folder.display()
            ),
        };
        Err(Error::Folder {
            path: self.at(last),
            problem: format!("cannot be resumed: {damage}; {problem}"),
        })
    }

    /// The newest whole checkpoint whose best one is whole too; where there is none, the newest whole one,
    /// and the step of the best one that it has lost.
    fn newest_good(&self, steps: &[u64]) -> Option<(u64, Loaded, Option<u64>)> {
        let whole = |&step: &u64| Some((step, self.load_with_best(step).ok()?, None));
        let alone = |&step: &u64| {
            let (tensors, mut state) = Self::load(&self.at(step)).ok()?;
            let lost = state.best.take().map(|(_, step)| step);
            Some((step, (tensors, state), lost))
        };
        let mut newest = steps.iter();
        newest
            .find_map(whole)
            .or_else(|| steps.iter().find_map(alone))
    }

    /// Renames a damaged checkpoint, so that it is kept and no longer counts.
    fn set_aside(&self, step: u64) -> Result<PathBuf> {
        let path = self.at(step);
        let aside = path.with_added_extension("damaged");
        if aside.exists() {
            remove_folder(&aside)?;
        }
        fs::rename(&path, &aside).map_err(|e| Error::io("rename", &path, e))?;
        Ok(aside)
    }

    /// Removes all but the newest `keep` checkpoints, the last and the best.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn rotate(&self, keep: usize, state: &TrainerState) -> Result<()> {
        let best = state.best.map(|(_, step)| step);
        for step in self.steps()?.into_iter().skip(keep.max(1)) {
            if Some(step) != best {
                remove_folder(&self.at(step))?;
            }
        }
        Ok(())
    }
}

/// Whether an error says that a file is not what was written.
fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Folder { .. } | Error::TensorFile { .. } | Error::FileMissing { .. }
    )
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
            spent: Default::default(),
            seconds: 1.0,
            seed: 3,
            evaluated: true,
            best: Some((0.5, step.min(10))),
            tie: 0.0,
            since_best: 0,
            loss: Some(0.1),
            position: serde_json::json!({ "epoch": 0, "batch": step }),
            sealed: true,
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

    /// Checkpoints of these steps, of which 10 is the best.
    fn some(folder: &Path, keep: usize, steps: &[u64]) -> Checkpoints {
        let checkpoints = Checkpoints::new(folder, keep);
        for &step in steps {
            checkpoints
                .save(&tensors(step as f32), &state(step))
                .unwrap();
        }
        checkpoints
    }

    #[test]
    fn rotation_keeps_the_newest_and_the_best() {
        let dir = tempfile::tempdir().unwrap();
        let none = Checkpoints::new(&dir.path().join("nowhere"), 2);
        assert!(none.last().unwrap().is_none() && none.resume().unwrap().is_none());
        let checkpoints = some(dir.path(), 2, &[5, 10, 15, 20, 25, 100]);
        assert_eq!(kept(dir.path()), [10, 25, 100]);
        let last = checkpoints.resume().unwrap().unwrap();
        assert_eq!((last.tensors, &last.state), (tensors(100.0), &state(100)));
        assert_eq!(last.path, dir.path().join("checkpoint-100"));
        assert_eq!(
            checkpoints.best(&last.state),
            Some(dir.path().join("checkpoint-10"))
        );
        checkpoints.rotate(0, &last.state).unwrap();
        assert_eq!(kept(dir.path()), [10, 100]);
    }

    /// Resumes with and without the switch: the refusal, and the step that is gone on from.
    fn refused(checkpoints: &Checkpoints) -> (String, Option<u64>) {
        let error = checkpoints.resume().unwrap_err().to_string();
        let lenient = Checkpoints::new(&checkpoints.folder, 2).from_last_good(true);
        let good = lenient.resume().ok().flatten();
        (error, good.map(|c| c.state.step))
    }

    #[test]
    fn a_damaged_last_checkpoint_is_refused_and_the_newest_good_one_taken_if_asked_for() {
        let flip = |path: PathBuf| {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() - 3;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        };
        type Harm<'a> = &'a dyn Fn(&Path);
        let cases: [(Harm<'_>, &str); 5] = [
            (
                &|c| flip(c.join(TENSORS)),
                "tensors.safetensors: is damaged",
            ),
            (&|c| flip(c.join(STATE)), "trainer.json: is damaged"),
            (
                &|c| fs::remove_file(c.join(TENSORS)).unwrap(),
                "tensors.safetensors: is missing",
            ),
            (
                &|c| fs::remove_file(c.join(SUMS)).unwrap(),
                "SHA256SUMS: is missing",
            ),
            (
                &|c| fs::write(c.join(STATE), "{").unwrap(),
                "trainer.json: is damaged",
            ),
        ];
        for (harm, named) in cases {
            let dir = tempfile::tempdir().unwrap();
            let checkpoints = some(dir.path(), 2, &[10, 15, 20]);
            harm(&dir.path().join("checkpoint-20"));
            let (error, step) = refused(&checkpoints);
            for said in [
                named,
                "checkpoint-20: cannot",
                "checkpoint-15",
                "--from-last-good",
            ] {
                assert!(error.contains(said), "{said}: {error}");
            }
            assert_eq!(step, Some(15));
            // Kept, and out of the way from now on.
            assert!(dir.path().join("checkpoint-20.damaged").is_dir());
            assert_eq!(checkpoints.resume().unwrap().unwrap().state.step, 15);
        }
    }

    #[test]
    fn a_damaged_best_checkpoint_counts_as_damage_of_those_that_need_it() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = some(dir.path(), 9, &[5, 10, 15, 20]);
        fs::remove_file(dir.path().join("checkpoint-10").join(TENSORS)).unwrap();
        let (error, step) = refused(&checkpoints);
        assert!(error.contains("checkpoint-20: cannot"), "{error}");
        assert!(
            error.contains("checkpoint-10/tensors.safetensors: is missing"),
            "{error}"
        );
        assert_eq!(step, Some(5));

        // No older one: the last goes on alone.
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = some(dir.path(), 2, &[10, 15, 20]);
        fs::write(dir.path().join("checkpoint-10").join(STATE), "{}").unwrap();
        let error = checkpoints.resume().unwrap_err().to_string();
        let offer = "checkpoint-20, without the best one so far; go on";
        assert!(error.contains(offer), "{error}");
        let lenient = Checkpoints::new(dir.path(), 2).from_last_good(true);
        let found = lenient.resume().unwrap().unwrap();
        assert!(found.best_is_lost && found.state.best.is_none());
        assert_eq!(found.set_aside, [dir.path().join("checkpoint-10.damaged")]);
        assert_eq!(found.state.step, 20);

        let only = tempfile::tempdir().unwrap();
        let checkpoints = some(only.path(), 1, &[10]);
        fs::write(only.path().join("checkpoint-10").join(TENSORS), "").unwrap();
        let (error, step) = refused(&checkpoints);
        assert!(error.contains("no other good one; delete"), "{error}");
        assert_eq!(step, None);
    }

    #[test]
    fn a_number_that_is_none_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = some(dir.path(), 2, &[5]);
        for (bad, said) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            checkpoints.save(&tensors(bad), &state(6)).unwrap();
            let error = Checkpoints::load(&checkpoints.at(6)).unwrap_err();
            assert!(matches!(error, Error::TensorFile { .. }), "{error}");
            let expected = format!("tensors.safetensors, tensor 'w': is damaged: it holds {said}");
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
        assert_eq!(refused(&checkpoints).1, Some(5));
    }

    #[test]
    fn a_checkpoint_of_an_earlier_version_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = some(dir.path(), 2, &[5, 10, 15]);
        for step in [10, 15] {
            let path = checkpoints.at(step);
            fs::remove_file(path.join(SUMS)).unwrap();
            let mut state = serde_json::to_value(state(step)).unwrap();
            state.as_object_mut().unwrap().remove("sealed");
            fs::write(path.join(STATE), state.to_string()).unwrap();
        }
        fs::write(dir.path().join("last"), "checkpoint-15\n").unwrap();
        fs::write(dir.path().join("best"), "checkpoint-10\n").unwrap();
        assert_eq!(checkpoints.resume().unwrap().unwrap().state.step, 15);
        // Without digests there is still what cannot be.
        fs::write(checkpoints.at(15).join(STATE), state_text(7)).unwrap();
        let error = Checkpoints::load(&checkpoints.at(15))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is the state of step 7"), "{error}");
        fs::write(checkpoints.at(15).join(STATE), "{").unwrap();
        let error = Checkpoints::load(&checkpoints.at(15))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("trainer.json: is not the state of a training run"),
            "{error}"
        );
    }

    fn state_text(step: u64) -> String {
        let unsealed = TrainerState {
            sealed: false,
            ..state(step)
        };
        serde_json::to_string(&unsealed).unwrap()
    }
}
