//! What the loop trains, seen from the loop.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::config::{Budget, RunConfig, StageConfig};
use super::estimate::Estimate;
use super::state::TensorMap;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub;
use crate::hub::adapter::{AdapterConfig, Weights};
use crate::models::Beside;
use crate::objectives::coverage::Coverage;
use crate::objectives::scores::Scores;

/// One model in training with its data: implemented once per objective.
///
/// A task is deterministic: after `load` and `seek`, the steps that follow give the same bits as
/// if the run had never stopped. `evaluate`, `save` and `export` change nothing that training
/// can see.
pub trait Task {
    /// What the loop must know beforehand.
    fn describe(&self) -> TaskInfo;

    /// Does one optimiser step on the next batch, without waiting for its loss.
    ///
    /// # Errors
    /// Whatever the device or the data report.
    fn train_step(&mut self, cx: &StepContext) -> Result<StepInfo>;

    /// The losses that have arrived since the last call, as (step, mean loss), steps ascending.
    /// Does not wait.
    ///
    /// # Errors
    /// Whatever the device reports.
    fn poll_losses(&mut self) -> Result<Vec<(u64, f32)>>;

    /// As [`poll_losses`](Self::poll_losses), but waits until every step's loss has arrived.
    ///
    /// # Errors
    /// Whatever the device reports.
    fn drain(&mut self) -> Result<Vec<(u64, f32)>>;

    /// What the steps whose losses have been taken since the last call say besides: (step, scores of its answers).
    fn told(&mut self) -> Vec<(u64, Scores)> {
        Vec::new()
    }

    /// Where the loss scale of f16 became another in the steps whose losses have been taken since the
    /// last call: (step, the scale after it).
    fn loss_scales(&mut self) -> Vec<(u64, f32)> {
        Vec::new()
    }

    /// Scores the model on a split, without dropout; `None` where there is no such split.
    ///
    /// # Errors
    /// Whatever the device or the data report.
    fn evaluate(&mut self, split: Split) -> Result<Option<Scores>>;

    /// Everything that training changes: parameters, optimiser state, carried LSTM state.
    ///
    /// # Errors
    /// Whatever the device reports.
    fn save(&mut self) -> Result<TensorMap>;

    /// Puts back what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// A missing or unexpected tensor, a wrong shape or dtype; see [`state`](super::state).
    fn load(&mut self, tensors: &TensorMap) -> Result<()>;

    /// Where in the data the next step begins (epoch, batch, order).
    fn position(&self) -> Value;

    /// Goes back to a [`position`](Self::position).
    ///
    /// # Errors
    /// A position of other data.
    fn seek(&mut self, position: &Value) -> Result<()>;

    /// The model as files that others can read.
    ///
    /// # Errors
    /// Whatever the device reports.
    fn export(&mut self) -> Result<ModelFiles>;

    /// The context that its steps run in, where it has one.
    fn gpu(&self) -> Option<&Gpu> {
        None
    }

    /// The most device memory that it held so far, in bytes, where it is known.
    fn peak_memory(&self) -> Option<u64> {
        None
    }
}

/// What the loop must know about a task beforehand.
#[derive(Debug, Clone, Default)]
pub struct TaskInfo {
    /// One line for the log: model, data, adapter.
    pub summary: String,
    /// Numbers that the model has.
    pub parameters: u64,
    /// Those of them that are trained.
    pub trainable: u64,
    /// Steps in one pass over the training data.
    pub steps_per_epoch: u64,
    /// What its work is counted in: "tokens".
    pub unit: &'static str,
    /// Work in one pass over the training data.
    pub work_per_epoch: u64,
    /// What the user should know about how the model began, and what it needs.
    pub notes: Vec<String>,
    /// What of the training texts is read.
    pub coverage: Coverage,
    /// The memory it needs, as estimated.
    pub size: Option<Estimate>,
    /// Seconds that its text took to be read.
    pub reading: f64,
}

impl TaskInfo {
    /// [`Estimate::explain`], where there is an estimate.
    pub fn explain(&self, stage: &str, error: Error) -> Error {
        match &self.size {
            Some(size) => size.explain(stage, error),
            None => error,
        }
    }
}

/// Steps that a budget comes to.
///
/// # Errors
/// [`Error::NoSteps`] where the data give no step.
pub fn total_steps(budget: Budget, info: &TaskInfo, unit: &str) -> Result<u64> {
    if info.steps_per_epoch == 0 || info.work_per_epoch == 0 {
        return Err(Error::NoSteps {
            unit: unit.into(),
            reason: "its training data are smaller than one batch; lower batch or bptt, or give more text".into(),
        });
    }
    Ok(match budget {
        Budget::Steps(steps) => steps,
        Budget::Epochs(epochs) => ((epochs * info.steps_per_epoch as f64).round() as u64).max(1),
        Budget::Tokens(tokens) => {
            let per_step = info.work_per_epoch as f64 / info.steps_per_epoch as f64;
            ((tokens as f64 / per_step).ceil() as u64).max(1)
        }
    })
}

/// One step's share of the schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepContext {
    /// This step's number; the first is 1.
    pub step: u64,
    /// Steps of the unit in all.
    pub total: u64,
    /// Learning rate of this step.
    pub lr: f32,
    /// The unit's seed: dropout is keyed by (seed, step, layer).
    pub seed: u64,
}

/// What a step reports at once; its loss comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepInfo {
    /// Work done, padding not counted, in the unit of [`TaskInfo::unit`].
    pub work: u64,
    /// Whether its shape was new, so that it was recorded, and kernels perhaps compiled.
    pub recorded: bool,
}

/// Parts of the data that a model is scored on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Held-out training texts: choose the best checkpoint.
    Validation,
    /// Test texts: read once, at the end.
    Test,
}

/// A trained model as files.
#[derive(Debug, Clone)]
pub enum ModelFiles {
    /// A whole model of a family.
    Model(hub::Model<'static>),
    /// Files of a task's own: name and content.
    Own(Vec<(String, Vec<u8>)>),
    /// A LoRA adapter as PEFT writes it, and the tokeniser.
    Adapter {
        /// `adapter_config.json`.
        config: Box<AdapterConfig>,
        /// The tensors of the model that it belongs to.
        layout: hub::Layout,
        /// Its own tensors.
        weights: Weights<'static>,
        /// Further files: name and content.
        companions: Vec<(String, Vec<u8>)>,
    },
}

/// One run of a stage: with one seed, or on one fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Index into [`RunConfig::stages`].
    pub stage: usize,
    /// 0-based repeat.
    pub repeat: usize,
    /// Folder name: the stage's name, with `.REPEAT` (from 1) where it repeats.
    pub name: String,
    /// Weights, data order and dropout of this unit.
    pub seed: u64,
    /// (index, of how many), where the stage cross-validates.
    pub fold: Option<(usize, usize)>,
}

/// What a task is built from.
#[derive(Debug, Clone)]
pub struct TaskRequest<'a> {
    /// The whole run.
    pub config: &'a RunConfig,
    /// The stage.
    pub stage: &'a StageConfig,
    /// Which of its repeats.
    pub unit: &'a Unit,
    /// Model folder to start from.
    pub init: Option<PathBuf>,
    /// What belongs to the model in `init` beside.
    pub beside: Beside<'a>,
    /// `--adapter`.
    pub adapter: Option<&'a str>,
    /// The run folder; tokeniser caches and the like may go there.
    pub folder: &'a Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_become_steps() {
        let info = TaskInfo {
            steps_per_epoch: 10,
            work_per_epoch: 1000,
            ..TaskInfo::default()
        };
        let steps = |budget| total_steps(budget, &info, "lm").unwrap();
        assert_eq!(steps(Budget::Steps(7)), 7);
        assert_eq!(steps(Budget::Epochs(2.5)), 25);
        assert_eq!(steps(Budget::Epochs(0.001)), 1);
        assert_eq!(steps(Budget::Tokens(1000)), 10);
        assert_eq!(steps(Budget::Tokens(1001)), 11);
    }

    #[test]
    fn data_without_a_step_are_refused() {
        let error = total_steps(Budget::Epochs(1.0), &TaskInfo::default(), "lm").unwrap_err();
        assert!(matches!(error, Error::NoSteps { .. }));
        assert!(
            error.to_string().contains("smaller than one batch"),
            "{error}"
        );
    }
}
