//! What a run would be, before it is begun: `melos train --dry-run`.

use serde::Serialize;

use super::config::{Budget, RunConfig, Source, StageConfig, StageKind};
use super::estimate::{DataSizes, Estimate, mebibytes};
use super::fit::AdapterLimits;
use super::progress::thousands;
use super::report::{markdown, percent};
use super::survey::{self, Survey};
use super::task::TaskInfo;
use super::task::total_steps;
use super::tasks::{fits_some_data, planned};
use crate::error::Result;

/// What a run would be, for `--dry-run`.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// What is in the data, where the run file or the command line name some.
    pub data: Option<Survey>,
    /// One entry per stage: name, repeats, budget, size.
    pub stages: Vec<PlannedStage>,
    /// The adapter, where one was found.
    pub adapter: Option<AdapterLimits>,
}

/// One stage of a [`Plan`].
#[derive(Debug, Clone, Serialize)]
pub struct PlannedStage {
    /// Stage name.
    pub name: String,
    /// How often it runs.
    pub repeats: usize,
    /// Its budget.
    pub budget: Budget,
    /// Its steps, where the data or the budget tell.
    pub steps: Option<u64>,
    /// Steps of a pass over the data, where these are there.
    pub steps_per_epoch: Option<u64>,
    /// Its size, with the vocabulary and the classes of the data; without data, at the full vocabulary and
    /// two classes.
    pub size: Estimate,
}

/// Works out what a run would be; its data are read, where it has some.
///
/// # Errors
/// As [`planned`] and [`survey::before_training`]; [`Error::DoesNotFit`](crate::Error::DoesNotFit) for a
/// stage that no data could make fit.
pub fn plan(config: &RunConfig, adapter: Option<AdapterLimits>) -> Result<Plan> {
    let mut config = config.clone();
    config.settle();
    let given = &config.data;
    let named = !given.path.is_empty() || given.test.is_some() || !given.unlabelled.is_empty();
    if named {
        given.require()?;
    }
    let data = match named || given.source == Source::Demo {
        false => None,
        true => Some(survey::before_training(&config).or_else(|error| {
            // A batch beyond all bounds is first of all one that does not fit.
            adapter
                .iter()
                .try_for_each(|limits| fits_some_data(&config, limits))?;
            Err(error)
        })?),
    };
    let stage = |(at, stage): (usize, &StageConfig)| -> Result<PlannedStage> {
        let found = data.as_ref().and_then(|data| data.stages.get(at));
        let labels = found.and_then(|found| found.labels.as_ref());
        let sizes = DataSizes {
            vocabulary: data.as_ref().map_or(config.tokenizer.vocabulary, |data| {
                data.tokenizer.vocabulary
            }),
            classes: labels.map_or(2, |labels| labels.classes.len()),
        };
        let info = found.map(|found| TaskInfo {
            steps_per_epoch: found.batches.div_ceil(stage.accumulate as u64),
            work_per_epoch: found.work,
            ..TaskInfo::default()
        });
        Ok(PlannedStage {
            name: stage.name.clone(),
            repeats: stage.repeats(),
            budget: stage.budget,
            steps_per_epoch: info.as_ref().map(|info| info.steps_per_epoch),
            steps: match (stage.kind, stage.budget) {
                (StageKind::Evaluate, _) => Some(0),
                (_, budget) if let Some(info) = &info => {
                    Some(total_steps(budget, info, &stage.name)?)
                }
                (_, Budget::Steps(n)) => Some(n),
                (_, Budget::Tokens(n)) if stage.objective.fills() => {
                    let tokens = stage.batch * stage.objective.length() * stage.accumulate;
                    Some(n.div_ceil(tokens as u64))
                }
                _ => None,
            },
            size: planned(&config, stage, sizes)?,
        })
    };
    let stages = config.stages.iter().enumerate();
    let stages = stages.map(stage).collect::<Result<_>>()?;
    Ok(Plan {
        data,
        stages,
        adapter,
    })
}

impl Plan {
    /// Checks every stage against the adapter, where there is one.
    ///
    /// # Errors
    /// [`crate::Error::DoesNotFit`] for the first stage that does not.
    pub fn check(&self) -> Result<()> {
        let Some(limits) = &self.adapter else {
            return Ok(());
        };
        self.stages
            .iter()
            .try_for_each(|stage| stage.size.check(&stage.name, limits))
    }

    /// The plan as a table.
    pub fn table(&self) -> String {
        let head = [
            "stage",
            "runs",
            "steps",
            "an epoch",
            "parameters",
            "trained %",
            "weights",
            "optimizer",
            "activations",
            "in all",
            "largest tensor",
            "largest batch",
        ];
        let mut cells = vec![head.map(String::from)];
        for stage in &self.stages {
            let steps = match (stage.steps, stage.budget) {
                (Some(n), _) => thousands(n as f64),
                (None, Budget::Epochs(x)) => {
                    format!("{x} epoch{}", if x == 1.0 { "" } else { "s" })
                }
                (None, Budget::Steps(n)) => thousands(n as f64),
                (None, Budget::Tokens(n)) => format!("{} tokens", thousands(n as f64)),
            };
            cells.push([
                stage.name.clone(),
                stage.repeats.to_string(),
                steps,
                (stage.steps_per_epoch).map_or("–".into(), |n| thousands(n as f64)),
                thousands(stage.size.parameters as f64),
                percent(stage.size.trainable, stage.size.parameters),
                mebibytes(stage.size.weights),
                mebibytes(stage.size.optimizer),
                mebibytes(stage.size.activations),
                mebibytes(stage.size.total()),
                mebibytes(stage.size.largest),
                self.adapter.as_ref().map_or("–".into(), |limits| {
                    thousands(stage.size.largest_batch(limits) as f64)
                }),
            ]);
        }
        let limits = match &self.adapter {
            Some(limits) => limits.sentence() + "\n",
            None => "there is no adapter: sizes are not checked\n".into(),
        };
        let (data, of) = match &self.data {
            Some(data) => (
                data.data() + "\n",
                "with the vocabulary and classes of the data",
            ),
            None => (
                String::new(),
                "without data (--data PATH), at the full vocabulary and 2 classes",
            ),
        };
        format!(
            "{data}{}\nPer run, estimated from its sizes {of}; {limits}",
            markdown(&cells)
        )
    }
}
