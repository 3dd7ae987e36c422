//! What a run would be, before it is begun: `melos train --dry-run`.

use serde::Serialize;

use super::config::{Budget, RunConfig, StageConfig, StageKind};
use super::estimate::{DataSizes, Estimate, mebibytes};
use super::fit::AdapterLimits;
use super::progress::thousands;
use super::report::{markdown, percent};
use super::tasks::planned;
use crate::error::Result;

/// What a run would be, for `--dry-run`.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
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
    /// Its steps, where they do not depend on the data, as where all its sequences are full.
    pub steps: Option<u64>,
    /// Its size, at the full vocabulary and two classes.
    pub size: Estimate,
}

/// Works out what a run would be.
///
/// # Errors
/// As [`planned`].
pub fn plan(config: &RunConfig, adapter: Option<AdapterLimits>) -> Result<Plan> {
    let mut config = config.clone();
    config.settle();
    let sizes = DataSizes {
        vocabulary: config.tokenizer.vocabulary,
        classes: 2,
    };
    let stage = |stage: &StageConfig| -> Result<PlannedStage> {
        Ok(PlannedStage {
            name: stage.name.clone(),
            repeats: stage.repeats(),
            budget: stage.budget,
            steps: match (stage.kind, stage.budget) {
                (StageKind::Evaluate, _) => Some(0),
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
    let stages = config.stages.iter().map(stage).collect::<Result<_>>()?;
    Ok(Plan { stages, adapter })
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
        format!(
            "{}\nPer run, estimated from its sizes at the full vocabulary and 2 classes; {limits}",
            markdown(&cells)
        )
    }
}
