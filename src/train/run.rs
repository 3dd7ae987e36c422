//! Whole runs: what `melos train` does, without the command line.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::advice::Done;
use super::artifacts::RunFolder;
use super::artifacts::analysis::UnitAnalysis;
use super::artifacts::card;
use super::artifacts::checkpoints::Checkpoints;
use super::artifacts::curves::draw_all;
use super::artifacts::fingerprint::Fingerprint;
use super::artifacts::log::{self, MetricsLog};
use super::config::{RunConfig, StageConfig, StageKind};
use super::longer::lengthen;
use super::page::{self, UnitLog};
use super::progress::{Event, Progress};
use super::report::{Report, UnitResult};
use super::spent::Spent;
use super::stop::StopFlag;
use super::task::{Split, Task, TaskRequest, Unit};
use super::trainer::{Trainer, UnitEnd};
use crate::bounded;
use crate::error::{Error, Result};
use crate::hub;
use crate::models::Beside;

/// A run to be begun, or one to go on with.
#[derive(Debug, Clone)]
pub enum Start {
    /// A new run, in `out` or in a folder of its own under `runs/`.
    New {
        /// What to do.
        config: Box<RunConfig>,
        /// `--out`.
        out: Option<PathBuf>,
    },
    /// Goes on in a run's folder.
    Resume {
        /// The folder.
        folder: PathBuf,
        /// Longer budgets of stages, as `--set` has them.
        set: Vec<String>,
        /// What it goes on in spite of.
        accept: Accept,
    },
}

/// What would otherwise end a resume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accept {
    /// A damaged last checkpoint: the newest good one is taken (`--from-last-good`).
    pub last_good: bool,
    /// Data or settings that changed since the run began (`--accept-changed-data`).
    pub changed: bool,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// Everything is done.
    Finished {
        /// The run folder.
        folder: PathBuf,
        /// Its results.
        report: Report,
    },
    /// Stopped on request; `melos train --resume FOLDER` goes on.
    Interrupted {
        /// The run folder.
        folder: PathBuf,
    },
}

/// Makes the task of a unit: [`TaskFactory::build`](super::tasks::TaskFactory::build), or a toy in tests.
pub type TaskBuilder<'a> = dyn FnMut(&TaskRequest<'_>) -> Result<Box<dyn Task>> + 'a;

/// Runs all stages that are not done yet.
///
/// # Errors
/// The configuration's, the data's, the device's and the disk's; what was finished before stays,
/// and resuming the folder goes on after it.
pub fn train(
    start: Start,
    adapter: Option<&str>,
    build: &mut TaskBuilder<'_>,
    progress: &mut dyn Progress,
    stop: &StopFlag,
) -> Result<Outcome> {
    let is_new = matches!(start, Start::New { .. });
    let (folder, config, accept) = match start {
        Start::New { mut config, out } => {
            config.settle();
            config.data.require()?;
            let folder = RunFolder::create(&config, out.as_deref())?;
            (folder, *config, Accept::default())
        }
        Start::Resume {
            folder,
            set,
            accept,
        } => {
            let (folder, config) = RunFolder::open(&folder)?;
            let config = lengthen(&folder, config, &set, progress)?;
            (folder, config, accept)
        }
    };
    let units = units(&config);
    progress.event(&Event::Run {
        name: &config.name,
        folder: folder.path(),
        units: units.len(),
    });
    let left = units
        .iter()
        .any(|unit| !UnitResult::is_in(&folder.unit(unit)));
    stop.set_idle(true);
    let held = hold_to_begin(&config, &folder, left, accept, progress);
    stop.set_idle(false);
    if let Err(error) = held {
        if is_new {
            folder.discard();
        }
        return Err(error);
    }
    let mut metrics = MetricsLog::open(&folder.metrics())?;
    let mut results = Vec::new();
    for unit in &units {
        let path = folder.unit(unit);
        if let Some(result) = UnitResult::read(&path)? {
            results.push(result);
            continue;
        }
        // The units before; also where a kill came before they were drawn.
        show(&config, &folder, &units)?;
        let stage = &config.stages[unit.stage];
        let message = format!("{}: preparing text, model and kernels", unit.name);
        progress.event(&Event::Note { message: &message });
        let request = TaskRequest {
            config: &config,
            stage,
            unit,
            init: init_folder(&config, &folder, &units, unit)?,
            beside: Beside::default(),
            adapter,
            folder: folder.path(),
        };
        stop.set_idle(true);
        let began = Instant::now();
        let built = build(&request);
        let building = began.elapsed().as_secs_f64();
        stop.set_idle(false);
        let mut task = match built {
            Ok(task) => task,
            Err(error) => {
                // Nothing was trained: a second try finds the folder as this one did.
                if is_new && unit == &units[0] {
                    drop(metrics);
                    folder.discard();
                }
                return Err(error);
            }
        };
        let info = task.describe();
        // Memory that is allocated as it is needed may run out in any step.
        let explain = |error| go_on(info.explain(&stage.name, error), &folder, &path);
        for note in &info.notes {
            let message = format!("{}: {note}", unit.name);
            progress.event(&Event::Note { message: &message });
        }
        let mut result = if stage.kind == StageKind::Evaluate {
            stop.set_idle(true);
            let result = evaluate_unit(task.as_mut(), stage, unit, &path, progress);
            stop.set_idle(false);
            result.map_err(explain)?
        } else {
            let checkpoints = Checkpoints::new(&path, stage.keep).from_last_good(accept.last_good);
            let trainer = Trainer::new(
                task.as_mut(),
                stage,
                unit,
                checkpoints,
                &mut metrics,
                progress,
                stop,
            )?;
            match trainer.run(task.as_mut()).map_err(explain)? {
                UnitEnd::Finished(result) => *result,
                UnitEnd::Interrupted => {
                    return Ok(Outcome::Interrupted {
                        folder: folder.path().to_path_buf(),
                    });
                }
            }
        };
        let spent = result.spent.get_or_insert_default();
        spent.reading = info.reading;
        spent.model = building - info.reading;
        result.warnings = warnings(stage, &result, &folder)?;
        for warning in &result.warnings {
            let message = format!("{}: {warning}", unit.name);
            progress.event(&Event::Note { message: &message });
        }
        UnitAnalysis::of(&result, info.coverage.clone()).write(&path)?;
        result.write(&path)?;
        results.push(result);
    }
    show(&config, &folder, &units)?;
    let report = Report::new(&config, results);
    report.write(folder.path())?;
    card::write_all(folder.path(), &config, &report)?;
    Ok(Outcome::Finished {
        folder: folder.path().to_path_buf(),
        report,
    })
}

/// What the evaluations of a unit that is done warn of.
fn warnings(stage: &StageConfig, result: &UnitResult, folder: &RunFolder) -> Result<Vec<String>> {
    let log = UnitLog::of(&log::read(&folder.metrics())?, &result.unit);
    let losses: Vec<f64> = log.loss.iter().map(|(_, loss)| *loss).collect();
    let parts = [("test", &result.test), ("validation", &result.validation)];
    let scores = parts
        .into_iter()
        .find_map(|(part, s)| Some((part, s.as_ref()?)));
    let done = Done {
        stage,
        evaluations: &log.scores,
        losses: &losses,
        scores,
        stopped_early: result.stopped_early,
    };
    Ok(done.warnings())
}

/// An error of the device with what there is to go on from, and what to try.
fn go_on(error: Error, folder: &RunFolder, unit: &Path) -> Error {
    let Error::Device { adapter, message } = error else {
        return error;
    };
    let kept = match Checkpoints::new(unit, 1).last() {
        Ok(Some(checkpoint)) => format!(
            "{} is whole: `melos train --resume {}` goes on from it",
            checkpoint.display(),
            folder.path().display()
        ),
        _ => "no checkpoint had been written yet".into(),
    };
    Error::Device {
        adapter,
        message: format!(
            "{message}; {kept}. Where it happens again, try a smaller batch (drivers reset a device whose \
             work takes too long), MELOS_KERNELS=portable, or another adapter (`melos devices`)"
        ),
    }
}

/// Holds a run to the data and settings that it was begun with; a new one, or one of before there were
/// fingerprints, gets its own. What is done stays so: data count only where something is `left`.
fn hold_to_begin(
    config: &RunConfig,
    folder: &RunFolder,
    left: bool,
    accept: Accept,
    progress: &mut dyn Progress,
) -> Result<()> {
    let path = folder.path();
    let mut now = Fingerprint::of_settings(config)?;
    if left {
        now = now.with_data(config, path)?;
    }
    let changes = match Fingerprint::read(path)? {
        Some(begun) => {
            let written = bounded::read_text(&folder.config(), bounded::SETTINGS)?;
            // It was read already: it is TOML.
            now = now.known(&begun, &written.parse().unwrap_or_default());
            begun.changes(&now)
        }
        None => return now.write(path),
    };
    if changes.is_empty() {
        return Ok(());
    }
    let changes = changes.join("; ");
    if !accept.changed {
        return Err(Error::ConfigValue {
            place: path.display().to_string(),
            message: format!(
                "what the run was begun with has changed: {changes}; put it back, begin another run, or go on all the same with --accept-changed-data"
            ),
        });
    }
    let message = format!("going on although it has changed: {changes}");
    progress.event(&Event::Note { message: &message });
    if left { now.write(path) } else { Ok(()) }
}

/// All units of a run, in order.
pub fn units(config: &RunConfig) -> Vec<Unit> {
    let mut units = Vec::new();
    for (index, stage) in config.stages.iter().enumerate() {
        let repeats = stage.repeats();
        for repeat in 0..repeats {
            units.push(Unit {
                stage: index,
                repeat,
                name: match repeats {
                    1 => stage.name.clone(),
                    _ => format!("{}.{}", stage.name, repeat + 1),
                },
                seed: stage.seeds.get(repeat).copied().unwrap_or(config.seed),
                fold: stage.folds.map(|folds| (repeat, folds)),
            });
        }
    }
    units
}

/// The model folder that a unit starts from.
fn init_folder(
    config: &RunConfig,
    folder: &RunFolder,
    units: &[Unit],
    unit: &Unit,
) -> Result<Option<PathBuf>> {
    let Some(init) = &config.stages[unit.stage].init else {
        return Ok(None);
    };
    let stage = config.stages[..unit.stage]
        .iter()
        .position(|s| &s.name == init);
    let Some(stage) = stage else {
        return resolve_model(Path::new(init)).map(Some);
    };
    // Validation saw to it that the earlier stage ran once, or as often as this one.
    let from: Vec<&Unit> = units.iter().filter(|u| u.stage == stage).collect();
    Ok(from
        .get(unit.repeat)
        .or(from.first())
        .map(|u| folder.model(u)))
}

fn evaluate_unit(
    task: &mut dyn Task,
    stage: &StageConfig,
    unit: &Unit,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<UnitResult> {
    let began = Instant::now();
    std::fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))?;
    let mut validation = None;
    let scoring = Instant::now();
    let test = task.evaluate(Split::Test)?;
    if test.is_none() {
        validation = task.evaluate(Split::Validation)?;
    }
    let evaluation = scoring.elapsed().as_secs_f64();
    let split = if test.is_some() {
        Split::Test
    } else {
        Split::Validation
    };
    let Some(scores) = test.as_ref().or(validation.as_ref()) else {
        return Err(Error::NoSteps {
            unit: unit.name.clone(),
            reason: "the data have neither test nor validation texts".into(),
        });
    };
    progress.event(&Event::Evaluation {
        unit: &unit.name,
        step: 0,
        scored: 0,
        split,
        scores,
        best: false,
    });
    let info = task.describe();
    Ok(UnitResult {
        parameters: info.parameters,
        trainable: info.trainable,
        peak_memory: task.peak_memory(),
        unit: unit.name.clone(),
        stage: stage.name.clone(),
        seed: unit.seed,
        fold: unit.fold,
        steps: 0,
        tokens: 0,
        tokens_per_second: 0.0,
        seconds: began.elapsed().as_secs_f64(),
        spent: Some(Spent {
            evaluation,
            ..Spent::default()
        }),
        best_step: None,
        stopped_early: false,
        warnings: Vec::new(),
        validation,
        test,
    })
}

/// Curves and report of what is done.
fn show(config: &RunConfig, folder: &RunFolder, units: &[Unit]) -> Result<()> {
    draw_all(folder.path(), config, units)?;
    page::write(folder.path(), config)
}

/// The model folder of the run or unit at `path`, or of that name on the Hub; what is none of them is `path`
/// itself, whatever that is.
///
/// # Errors
/// [`Error::Folder`] for a run without a finished model.
pub fn model_of_run(path: &Path) -> Result<PathBuf> {
    let path = &hub::local(path)?;
    let of_run = ["config.toml", "results.json", "done.json"];
    if of_run.iter().any(|name| path.join(name).is_file()) {
        resolve_model(path)
    } else {
        Ok(path.to_path_buf())
    }
}

/// The model folder (or GGUF file) meant by `path`: itself, a unit's, the best of a run, or [that of the Hub](hub::local).
///
/// # Errors
/// [`Error::Folder`] where there is no model.
pub fn resolve_model(path: &Path) -> Result<PathBuf> {
    let path = &hub::local(path)?;
    let is_model = |p: &Path| {
        let has = |name| p.join(name).exists();
        (hub::has_weights(p) && has(hub::CONFIG)) || has(hub::adapter::ADAPTER_CONFIG)
    };
    if is_model(path) || hub::gguf::is_gguf(path) || hub::is_torch(path) {
        return Ok(path.to_path_buf());
    }
    if is_model(&path.join("model")) {
        return Ok(path.join("model"));
    }
    let results = path.join("results.json");
    if let Ok(text) = bounded::read(&results, bounded::SETTINGS) {
        let best = bounded::json::<Value>(&text).ok();
        if let Some(model) = best.as_ref().and_then(|v| v["model"].as_str()) {
            let model = path.join(model);
            if is_model(&model) {
                return Ok(model);
            }
        }
    }
    let problem = if path.join("config.toml").is_file() {
        "is a run without a finished model; finish it with `melos train --resume`"
    } else if path.join(hub::CONFIG).is_file() {
        hub::without_weights()
    } else {
        "is no model folder (model.safetensors, config.json), no adapter folder (adapter_config.json) and no run folder"
    };
    Err(Error::Folder {
        path: path.to_path_buf(),
        problem: problem.into(),
    })
}
