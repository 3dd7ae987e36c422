//! A few training steps of a stage, for `melos profile`, `melos tune` and `melos lr-find`: what they learn is not kept.

use tempfile::TempDir;

use super::config::{Budget, RunConfig, StageConfig, StageKind, unknown_name};
use super::run::units;
use super::task::total_steps;
use super::task::{StepContext, Task, TaskInfo, TaskRequest, Unit};
use super::tasks::{TaskFactory, first_init};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::models::Beside;

/// Which steps.
#[derive(Debug, Clone, Copy)]
pub struct ProbeOptions<'a> {
    /// The stage; the first that trains, if `None`.
    pub stage: Option<&'a str>,
    /// Training steps.
    pub steps: u64,
    /// `--adapter`.
    pub adapter: Option<&'a str>,
}

/// A stage that is ready to train: the same few steps, as often as they are wanted.
pub(super) struct Probe {
    pub config: RunConfig,
    /// Index of the stage.
    index: usize,
    task: Box<dyn Task>,
    pub gpu: Gpu,
    pub info: TaskInfo,
    unit: Unit,
    start: serde_json::Value,
    total: u64,
    pub count: u64,
    _folder: TempDir,
}

impl Probe {
    /// Prepares a stage as `melos train` would. A stage that starts from an earlier one's model
    /// starts from where that one began: its steps cost the same.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::ConfigValue`] for a stage that is not there or does not
    /// train; those of [`TaskFactory::build`].
    pub fn prepare(
        config: &RunConfig,
        options: &ProbeOptions<'_>,
        factory: &mut TaskFactory,
    ) -> Result<Probe> {
        let mut config = config.clone();
        config.settle();
        config.data.require()?;
        factory.check(&config, options.adapter)?;
        let index = stage_index(&config, options.stage)?;
        // As many steps as are tried: what a stage asks before its first step is of the batches of its budget.
        let budget = &mut config.stages[index].budget;
        *budget = match *budget {
            Budget::Steps(steps) => Budget::Steps(steps.max(options.steps)),
            Budget::Epochs(epochs) => Budget::Epochs(epochs.max(1.0)),
            Budget::Tokens(_) => Budget::Epochs(1.0),
        };
        let stage = &config.stages[index];
        let unit = units(&config).into_iter().find(|u| u.stage == index);
        let unit = unit.ok_or_else(|| no_stage(&config))?;
        let folder = tempfile::tempdir().map_err(|e| Error::write("a temporary folder", e))?;
        let task = factory.build(&TaskRequest {
            config: &config,
            stage,
            unit: &unit,
            init: first_init(&config, stage)?,
            beside: Beside::default(),
            adapter: options.adapter,
            folder: folder.path(),
        })?;
        let gpu = task.gpu().cloned();
        let gpu = gpu.ok_or_else(|| no_stage(&config))?;
        let info = task.describe();
        let total = total_steps(stage.budget, &info, &unit.name)?;
        Ok(Probe {
            start: task.position(),
            total: total.max(options.steps),
            count: options.steps,
            config,
            index,
            task,
            gpu,
            info,
            unit,
            _folder: folder,
        })
    }

    pub fn stage(&self) -> &StageConfig {
        &self.config.stages[self.index]
    }

    /// Runs the steps from the first batch on, `after` each when it has been sent, and waits for
    /// their losses; returns the tokens they read.
    pub fn run(&mut self, mut after: impl FnMut()) -> Result<u64> {
        self.task.seek(&self.start)?;
        let mut tokens = 0;
        for step in 1..=self.count {
            let stage = self.stage();
            let info = self.task.train_step(&StepContext {
                step,
                total: self.total,
                lr: (stage.lr * stage.schedule.factor(step, self.total)) as f32,
                seed: self.unit.seed,
            });
            let info = info.map_err(|e| self.info.explain(&self.stage().name, e))?;
            tokens += info.work;
            let losses = self.task.poll_losses()?;
            self.check(&losses)?;
            after();
        }
        let losses = self.task.drain()?;
        self.check(&losses)?;
        Ok(tokens)
    }

    /// Runs the steps from the first batch on, each with its rate, as long as its loss lets it `go_on`.
    pub fn sweep(
        &mut self,
        rate: impl Fn(u64) -> f64,
        mut go_on: impl FnMut(f32) -> bool,
    ) -> Result<()> {
        self.task.seek(&self.start)?;
        for step in 1..=self.count {
            let sent = self.task.train_step(&StepContext {
                step,
                total: self.total,
                lr: rate(step) as f32,
                seed: self.unit.seed,
            });
            sent.map_err(|e| self.info.explain(&self.stage().name, e))?;
            let losses = self.task.poll_losses()?;
            if !losses.into_iter().all(|(_, loss)| go_on(loss)) {
                return Ok(());
            }
        }
        self.task.drain()?.into_iter().all(|(_, loss)| go_on(loss));
        Ok(())
    }

    /// Numbers that are not finite take another time than those of a run that learns.
    fn check(&self, losses: &[(u64, f32)]) -> Result<()> {
        match losses.iter().find(|(_, loss)| !loss.is_finite()) {
            None => Ok(()),
            Some(&(step, value)) => Err(Error::Diverged {
                unit: self.unit.name.clone(),
                what: "the loss".into(),
                step,
                value,
                checkpoint: None,
            }),
        }
    }
}

/// The stage of that name, or the first, that trains.
fn stage_index(config: &RunConfig, name: Option<&str>) -> Result<usize> {
    let stages = &config.stages;
    let trains = |s: &StageConfig| s.kind != StageKind::Evaluate;
    let Some(name) = name else {
        let first = stages.iter().position(trains);
        return first.ok_or_else(|| no_stage(config));
    };
    match stages.iter().position(|s| s.name == name) {
        Some(index) if trains(&stages[index]) => Ok(index),
        Some(_) => Err(no_stage(config)),
        None => {
            let all = stages.iter().filter(|s| trains(s));
            Err(unknown_name("stage", name, all.map(|s| &s.name[..])))
        }
    }
}

fn no_stage(config: &RunConfig) -> Error {
    let trains = config.stages.iter().any(|s| s.kind != StageKind::Evaluate);
    let message = if trains {
        "only evaluates; expected a stage that trains"
    } else {
        "the run file has none that trains"
    };
    Error::value("--stage", message)
}
