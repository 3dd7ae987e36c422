//! The runs in a folder: what each came to, and the space that its checkpoints take.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::checkpoints::Checkpoints;
use super::lock::Lock;
use super::{CONFIG, config_of};
use crate::atomic::remove_folder;
use crate::error::{Error, Result};
use crate::train::report::{Measure, Report, UnitResult, measure};
use crate::train::run::units;

/// A run as its folder tells it.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// Its folder.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// Stages and repeats that are done.
    pub done: usize,
    /// Stages and repeats in all.
    pub units: usize,
    /// Whether a process works in it right now.
    pub running: bool,
    /// Folder, within the run's, of its best model.
    pub model: Option<String>,
    /// That model's score on the test texts, or else on the validation texts.
    pub best: Option<Measure>,
    /// Seconds that what is done took.
    pub seconds: f64,
    /// Bytes of checkpoints that nothing needs any more.
    pub spare: u64,
    #[serde(skip)]
    began: Option<SystemTime>,
    #[serde(skip)]
    checkpoints: Vec<PathBuf>,
}

impl RunSummary {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// [`Error::Folder`] where it is none, or a file in it is damaged; [`Error::Io`].
    pub fn read(folder: &Path) -> Result<Self> {
        let config = config_of(folder)?;
        let units = units(&config);
        let (mut results, mut spare, mut checkpoints) = (Vec::new(), 0, Vec::new());
        for unit in &units {
            let place = folder.join(&unit.name);
            // Of what is not done they are what a resume goes on from.
            let Some(result) = UnitResult::read(&place)? else {
                continue;
            };
            results.push(result);
            for checkpoint in Checkpoints::new(&place, 1).all()? {
                spare += size(&checkpoint)?;
                checkpoints.push(checkpoint);
            }
        }
        let (done, seconds) = (results.len(), results.iter().map(|r| r.seconds).sum());
        let report = Report::new(&config, results);
        let best = report.units.iter().find(|unit| {
            let own = report.model.as_ref().and_then(|m| m.strip_suffix("/model"));
            own == Some(&unit.unit)
        });
        let scores = best.and_then(|unit| unit.test.as_ref().or(unit.validation.as_ref()));
        Ok(Self {
            folder: folder.to_path_buf(),
            name: config.name,
            done,
            units: units.len(),
            running: Lock::is_held(folder),
            best: scores.and_then(measure),
            model: report.model,
            seconds,
            spare,
            began: fs::metadata(folder.join(CONFIG))
                .and_then(|m| m.modified())
                .ok(),
            checkpoints,
        })
    }

    /// Removes the checkpoints of what is done; models, results and what a resume needs stay.
    ///
    /// # Errors
    /// [`Error::Folder`] where a process works in the run; [`Error::Io`].
    pub fn clean(&self) -> Result<()> {
        let _lock = Lock::take(&self.folder)?.ok_or_else(|| Lock::held(&self.folder))?;
        self.checkpoints.iter().try_for_each(|c| remove_folder(c))
    }
}

/// The runs in a folder, or the run that it is, the oldest first. Folders that are no runs are passed
/// over, and those that cannot be read are said.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be read.
pub fn runs(folder: &Path) -> Result<Vec<RunSummary>> {
    if folder.join(CONFIG).is_file() {
        return RunSummary::read(folder).map(|run| vec![run]);
    }
    let mut runs = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::read(folder, e))? {
        let path = entry.map_err(|e| Error::read(folder, e))?.path();
        if !path.join(CONFIG).is_file() {
            continue;
        }
        match RunSummary::read(&path) {
            Ok(run) => runs.push(run),
            Err(e) => ::log::warn!("left out: {e}"),
        }
    }
    runs.sort_by(|a, b| (a.began, &a.folder).cmp(&(b.began, &b.folder)));
    Ok(runs)
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> Result<u64> {
    let failed = |e| Error::read(folder, e);
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(failed)? {
        sum += entry
            .and_then(|entry| entry.metadata())
            .map_err(failed)?
            .len();
    }
    Ok(sum)
}
