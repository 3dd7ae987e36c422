//! Going on with a run under a longer budget: what is kept, and what is trained again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::artifacts::RunFolder;
use super::artifacts::checkpoints::Checkpoints;
use super::artifacts::fingerprint::Fingerprint;
use super::config::{Budget, Overrides, RunConfig, StageConfig};
use super::progress::{Event, Progress};
use super::report::UnitResult;
use super::run::units;
use super::task::Unit;
use crate::atomic::{remove_folder, write_file};
use crate::error::{Error, Result};

/// Keys of a stage that say when it is done.
const WHEN_DONE: [&str; 2] = ["budget", "patience"];

/// A run's configuration with `set` laid over it, and its folder made ready to go on with that: a stage of
/// another budget goes on from its last checkpoint, and those that began with its model begin again.
///
/// # Errors
/// [`Error::ConfigValue`] for a key that a run that has begun cannot change, and for a stage that could not
/// go on; those of reading and writing. Nothing has been changed then.
pub fn lengthen(
    folder: &RunFolder,
    config: RunConfig,
    set: &[String],
    progress: &mut dyn Progress,
) -> Result<RunConfig> {
    if set.is_empty() {
        return Ok(config);
    }
    let overrides = Overrides {
        set: set.to_vec(),
        ..Overrides::default()
    };
    let wanted = RunConfig::read(&folder.config(), &overrides)?;
    let (was, now) = (
        Fingerprint::of_settings(&config)?,
        Fingerprint::of_settings(&wanted)?,
    );
    let keys = was.changed_keys(&now);
    if let Some(key) = keys
        .iter()
        .find(|key| !config.stages.iter().any(|s| ends(s, key)))
    {
        let message = "cannot become another in a run that has begun; --resume takes stage.NAME.budget and \
                       stage.NAME.patience, all else is for a new run";
        return Err(Error::value(key.clone(), message));
    }
    let all = units(&wanted);
    let changed = |unit: &&Unit| keys.iter().any(|key| ends(&wanted.stages[unit.stage], key));
    let mut kept = Vec::new();
    for unit in all.iter().filter(changed) {
        kept.extend(goes_on(folder, unit, &config, &wanted)?);
    }
    let longer: BTreeSet<usize> = kept.iter().map(|(unit, _)| unit.stage).collect();
    let again = after(&wanted, &longer);
    // The results first: a kill from here on leaves stages that are not done, and loses no checkpoint.
    remove_file(&folder.path().join("results.json"))?;
    for (unit, checkpoint) in kept {
        UnitResult::remove(&folder.unit(unit))?;
        let (name, from) = (&unit.name, checkpoint.display());
        say(
            progress,
            format!("{name}: is kept, and goes on from {from}"),
        );
    }
    for unit in all.iter().filter(|unit| again.contains(&unit.stage)) {
        let place = folder.unit(unit);
        if place.exists() {
            remove_folder(&place)?;
            let init = wanted.stages[unit.stage]
                .init
                .as_deref()
                .unwrap_or_default();
            say(
                progress,
                format!(
                    "{}: begins with '{init}', which is trained on; trained again",
                    unit.name
                ),
            );
        }
    }
    if let Some(begun) = Fingerprint::read(folder.path())? {
        begun.with(&now, &keys).write(folder.path())?;
    }
    write_file(&folder.config(), wanted.to_toml()?.as_bytes())?;
    Ok(wanted)
}

fn say(progress: &mut dyn Progress, message: String) {
    progress.event(&Event::Note { message: &message });
}

/// Whether a key of the run says when a stage is done.
fn ends(stage: &StageConfig, key: &str) -> bool {
    let own = key.strip_prefix(&format!("stage.{}.", stage.name));
    let own = own.map(|own| own.split('.').next().unwrap_or(own));
    own.is_some_and(|own| WHEN_DONE.contains(&own))
}

/// The stages that begin, at once or by way of others, with the model of one of these.
fn after(config: &RunConfig, first: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for (index, stage) in config.stages.iter().enumerate() {
        // Of an earlier stage only: validation saw to it.
        let from = stage.init.as_ref();
        let from = config.stages[..index]
            .iter()
            .position(|s| Some(&s.name) == from);
        if from.is_some_and(|from| first.contains(&from) || found.contains(&from)) {
            found.insert(index);
        }
    }
    found
}

/// A unit that is done and is to go on, with its last checkpoint; `None` for one that goes on
/// anyway, or would end where it has.
fn goes_on<'a>(
    folder: &RunFolder,
    unit: &'a Unit,
    config: &RunConfig,
    wanted: &RunConfig,
) -> Result<Option<(&'a Unit, PathBuf)>> {
    let place = folder.unit(unit);
    let Some(done) = UnitResult::read(&place)? else {
        return Ok(None);
    };
    let (was, now) = (&config.stages[unit.stage], &wanted.stages[unit.stage]);
    let refuse = |key: &str, message: String| {
        Err(Error::value(format!("stage.{}.{key}", now.name), message))
    };
    if !done.stopped_early && was.budget == now.budget {
        return Ok(None);
    }
    let shorter = match (was.budget, now.budget) {
        (Budget::Epochs(was), Budget::Epochs(now)) => now < was,
        (_, Budget::Steps(now)) => now < done.steps,
        (_, Budget::Tokens(now)) => now < done.tokens,
        // The steps of an epoch are known when the texts are read.
        (_, Budget::Epochs(_)) => false,
    };
    if shorter {
        let (steps, tokens) = (done.steps, done.tokens);
        let message =
            format!("is less than the {steps} steps of {tokens} tokens that are done; give more");
        return refuse("budget", message);
    }
    if done.stopped_early && now.patience <= was.patience {
        let had = was.patience.unwrap_or_default();
        return refuse(
            "patience",
            format!("'{}' ended for want of it; give more than {had}", unit.name),
        );
    }
    match Checkpoints::new(&place, 1).last()? {
        Some(checkpoint) => Ok(Some((unit, checkpoint))),
        None => refuse(
            "budget",
            format!(
                "'{}' has no checkpoint to go on from any more; begin a new run",
                unit.name
            ),
        ),
    }
}

fn remove_file(path: &std::path::Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}
