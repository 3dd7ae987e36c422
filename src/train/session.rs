//! Whole runs from a Rust program: what `melos train` does, without the command line.

use std::path::{Path, PathBuf};

use super::config::RunConfig;
use super::progress::Progress;
use super::run::{self, Outcome, Start, resolve_model};
use super::stop::StopFlag;
use super::tasks::TaskFactory;
use crate::error::Result;

impl From<RunConfig> for Start {
    fn from(config: RunConfig) -> Start {
        Start::New {
            config: Box::new(config),
            out: None,
        }
    }
}

impl Outcome {
    /// The run folder.
    pub fn folder(&self) -> &Path {
        match self {
            Outcome::Finished { folder, .. } | Outcome::Interrupted { folder } => folder,
        }
    }

    /// The folder of the best model, or adapter, of the run.
    ///
    /// # Errors
    /// [`crate::Error::Folder`] for a run that was interrupted before it had one.
    pub fn model(&self) -> Result<PathBuf> {
        resolve_model(self.folder())
    }
}

/// Trains: a new run, or one that goes on in its folder, with checkpoints, metrics and reports as
/// `melos train` leaves them. `adapter` is part of a name, or a number of `melos devices`; when
/// `stop` is raised the step is finished and a checkpoint written.
///
/// # Errors
/// As [`run::train`]; before anything is written, [`crate::Error::DoesNotFit`] for a run that the
/// adapter cannot hold.
pub fn train(
    start: Start,
    adapter: Option<&str>,
    progress: &mut dyn Progress,
    stop: &StopFlag,
) -> Result<Outcome> {
    let mut factory = TaskFactory::default();
    if let Start::New { config, .. } = &start {
        config.check()?;
        config.data.require()?;
        factory.check(config, adapter)?;
    }
    let build = &mut |request: &super::TaskRequest<'_>| factory.build(request);
    run::train(start, adapter, build, progress, stop)
}

/// Trains on the best adapter, to the end.
///
/// # Errors
/// As [`train`].
pub fn fit(run: impl Into<Start>, progress: &mut dyn Progress) -> Result<Outcome> {
    train(run.into(), None, progress, &StopFlag::default())
}
