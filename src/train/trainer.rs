//! The loop that trains one unit: schedule, budget, evaluation, checkpoints, resume.

use std::path::PathBuf;
use std::time::Instant;

use super::artifacts::checkpoints::{Checkpoint, Checkpoints};
use super::artifacts::log::MetricsLog;
use super::artifacts::tensorboard::EventWriter;
use super::artifacts::write_model;
use super::config::StageConfig;
use super::progress::{Event, Progress};
use super::report::UnitResult;
use super::spent::Spent;
use super::state::TrainerState;
use super::stop::StopFlag;
use super::task::{Split, StepContext, Task, Unit, total_steps};
use crate::atomic;
use crate::error::{Error, Result};
use crate::objectives::scores::Scores;

/// How a unit ended.
#[derive(Debug)]
pub enum UnitEnd {
    /// All steps done, model written.
    Finished(Box<UnitResult>),
    /// Stopped on request, with a checkpoint to go on from.
    Interrupted,
}

/// Everything around a task while it trains.
pub struct Trainer<'a> {
    stage: &'a StageConfig,
    unit: &'a Unit,
    checkpoints: Checkpoints,
    events: EventWriter,
    log: &'a mut MetricsLog,
    progress: &'a mut dyn Progress,
    stop: &'a StopFlag,
    state: TrainerState,
    total: u64,
    /// What the task's work is counted in.
    counted: &'static str,
    eval_every: u64,
    validation: Option<Scores>,
    last_good: Option<PathBuf>,
    saved_step: Option<u64>,
    /// When this process began with the unit, and the seconds that earlier ones spent on it.
    clock: (Instant, f64),
}

impl<'a> Trainer<'a> {
    /// Prepares a unit in the checkpoints' folder; where there is a checkpoint, goes back to it.
    ///
    /// # Errors
    /// A checkpoint that cannot be read or belongs to something else, data without a single
    /// step, files that cannot be written.
    pub fn new(
        task: &mut dyn Task,
        stage: &'a StageConfig,
        unit: &'a Unit,
        checkpoints: Checkpoints,
        log: &'a mut MetricsLog,
        progress: &'a mut dyn Progress,
        stop: &'a StopFlag,
    ) -> Result<Self> {
        let info = task.describe();
        let total = total_steps(stage.budget, &info, &unit.name)?;
        let folder = checkpoints.folder().to_path_buf();
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        // What a kill left of a checkpoint, a model, a removal.
        atomic::clear_own(&folder);
        let found = checkpoints.resume()?;
        let last_good = found.as_ref().map(|found| found.path.clone());
        let state = match found {
            Some(found) => restore(task, unit, found, progress)?,
            None => TrainerState {
                unit: unit.name.clone(),
                step: 0,
                tokens: 0,
                train_seconds: 0.0,
                seconds: 0.0,
                spent: Spent::default(),
                seed: unit.seed,
                evaluated: true,
                best: None,
                tie: 0.0,
                since_best: 0,
                loss: None,
                position: task.position(),
                sealed: true,
            },
        };
        if state.step > total {
            let done = state.step;
            let message = format!("comes to {total} steps, and {done} are done; give more");
            return Err(Error::value(
                format!("stage.{}.budget", stage.name),
                message,
            ));
        }
        log.rewind(&unit.name, state.step, state.evaluated)?;
        let events = EventWriter::create(&folder, last_good.is_some().then_some(state.step))?;
        progress.event(&Event::Start {
            unit: &unit.name,
            summary: &info.summary,
            parameters: info.parameters,
            step: state.step,
            total,
        });
        Ok(Self {
            stage,
            unit,
            checkpoints,
            events,
            log,
            progress,
            stop,
            total,
            counted: info.unit,
            // Data so small that an epoch is less than a step cannot occur: total_steps checked.
            eval_every: stage.eval_every.unwrap_or(info.steps_per_epoch),
            validation: None,
            saved_step: last_good.is_some().then_some(state.step),
            last_good,
            clock: (Instant::now(), state.seconds),
            state,
        })
    }

    /// Trains to the end of the budget, or until the flag is raised.
    ///
    /// # Errors
    /// [`Error::Diverged`], and whatever the task or the disk report.
    pub fn run(mut self, task: &mut dyn Task) -> Result<UnitEnd> {
        loop {
            // Here rather than after the step: a run stopped between the two evaluates when it
            // is resumed, and so chooses the same best checkpoint.
            if !self.state.evaluated && self.evaluation_is_due() {
                self.evaluate(task)?;
            }
            if self.state.step >= self.total || self.is_out_of_patience() {
                if self.state.step < self.total {
                    let (unit, no_better) = (&self.unit.name, self.state.since_best);
                    let message =
                        format!("{unit}: stops early, {no_better} evaluations were no better");
                    self.progress.event(&Event::Note { message: &message });
                }
                return self.finish(task);
            }
            let step = self.state.step;
            let stop = self.stop.is_raised();
            let due = self
                .stage
                .save_every
                .is_some_and(|n| step > 0 && step.is_multiple_of(n));
            if (stop || due) && self.saved_step != Some(step) {
                self.save(task)?;
            }
            if stop {
                return Ok(UnitEnd::Interrupted);
            }
            self.step(task)?;
        }
    }

    fn step(&mut self, task: &mut dyn Task) -> Result<()> {
        let step = self.state.step + 1;
        let began = Instant::now();
        let info = task.train_step(&StepContext {
            step,
            total: self.total,
            lr: self.lr(step),
            seed: self.unit.seed,
        })?;
        let losses = task.poll_losses()?;
        let seconds = began.elapsed().as_secs_f64();
        self.state.train_seconds += seconds;
        match info.recorded {
            true => self.state.spent.first_steps += seconds,
            false => self.state.spent.steps += seconds,
        }
        self.state.step = step;
        self.state.tokens += info.work;
        self.state.evaluated = false;
        self.take_losses(task, losses)?;
        self.progress.event(&Event::Step {
            unit: &self.unit.name,
            step,
            total: self.total,
            tokens_per_second: self.tokens_per_second(),
            counted: self.counted,
        });
        Ok(())
    }

    fn lr(&self, step: u64) -> f32 {
        (self.stage.lr * self.stage.schedule.factor(step, self.total)) as f32
    }

    fn tokens_per_second(&self) -> f64 {
        self.state.tokens as f64 / self.state.train_seconds.max(1e-9)
    }

    fn seconds(&self) -> f64 {
        self.clock.0.elapsed().as_secs_f64() + self.clock.1
    }

    /// Notes the losses of steps that have arrived, and what else is known of these.
    fn take_losses(&mut self, task: &mut dyn Task, losses: Vec<(u64, f32)>) -> Result<()> {
        let (scales, told) = (task.loss_scales(), task.told());
        for (step, loss) in losses {
            let lr = self.lr(step);
            let said = told.iter().find(|(at, _)| *at == step);
            let said = said.map(|(_, scores)| &scores.metrics);
            self.tell(&Event::Loss {
                unit: &self.unit.name,
                step,
                loss,
                lr,
                told: said,
            })?;
            self.events.scalar(step, "loss", loss)?;
            self.events.scalar(step, "lr", lr)?;
            for (name, value) in said.into_iter().flatten() {
                self.events.scalar(step, name, *value as f32)?;
            }
            for &(_, loss_scale) in scales.iter().filter(|(at, _)| *at == step) {
                self.tell(&Event::LossScale {
                    unit: &self.unit.name,
                    step,
                    loss_scale,
                })?;
                self.events.scalar(step, "loss_scale", loss_scale)?;
            }
            if !loss.is_finite() {
                return Err(self.diverged("the loss", step, loss));
            }
            self.state.loss = Some(loss);
        }
        Ok(())
    }

    /// Writes an event down and shows it.
    fn tell(&mut self, event: &Event<'_>) -> Result<()> {
        self.log.line(event)?;
        self.progress.event(event);
        Ok(())
    }

    fn diverged(&self, what: &str, step: u64, value: f32) -> Error {
        Error::Diverged {
            unit: self.unit.name.clone(),
            what: what.into(),
            step,
            value,
            checkpoint: self.last_good.clone(),
        }
    }

    /// Waits for every step sent so far; their time belongs to training.
    fn drain(&mut self, task: &mut dyn Task) -> Result<()> {
        let began = Instant::now();
        let losses = task.drain()?;
        let seconds = began.elapsed().as_secs_f64();
        self.state.train_seconds += seconds;
        self.state.spent.steps += seconds;
        self.take_losses(task, losses)
    }

    /// Whether as many evaluations as the stage bears were no better than the best.
    fn is_out_of_patience(&self) -> bool {
        let bears = self.stage.patience;
        self.state.evaluated && bears.is_some_and(|bears| self.state.since_best >= bears)
    }

    fn evaluation_is_due(&self) -> bool {
        self.state.step.is_multiple_of(self.eval_every) || self.state.step == self.total
    }

    fn evaluate(&mut self, task: &mut dyn Task) -> Result<()> {
        self.drain(task)?;
        self.state.evaluated = true;
        let scores = self.score(task, Split::Validation, self.state.step)?;
        let best = scores.as_ref().is_some_and(|s| self.is_best(s));
        if let (Some(scores), true) = (&scores, best) {
            let [value, tie] = scores.to_minimise();
            self.state.best = Some((value as f32, self.state.step));
            self.state.tie = tie as f32;
        }
        if scores.is_some() {
            self.state.since_best = if best { 0 } else { self.state.since_best + 1 };
        }
        // Without save_every there is a checkpoint at every evaluation; and always of the best,
        // and of the end.
        let last = self.state.step == self.total || self.is_out_of_patience();
        if best || last || self.stage.save_every.is_none() {
            self.save(task)?;
        }
        self.validation = scores.or(self.validation.take());
        Ok(())
    }

    /// Whether scores are better than the best so far.
    fn is_best(&self, scores: &Scores) -> bool {
        let now = scores.to_minimise().map(|part| part as f32);
        let best = self.state.best.map(|(value, _)| [value, self.state.tie]);
        best.is_none_or(|best| now < best)
    }

    /// A split's scores; their time is that of evaluation.
    fn evaluated(&mut self, task: &mut dyn Task, split: Split) -> Result<Option<Scores>> {
        let began = Instant::now();
        let scores = task.evaluate(split);
        self.state.spent.evaluation += began.elapsed().as_secs_f64();
        scores
    }

    /// Scores a split with the weights of the step `scored`, and tells everyone.
    fn score(&mut self, task: &mut dyn Task, split: Split, scored: u64) -> Result<Option<Scores>> {
        let Some(scores) = self.evaluated(task, split)? else {
            return Ok(None);
        };
        let step = self.state.step;
        if !scores.loss.is_finite() {
            return Err(self.diverged("the loss on held-out text", step, scores.loss as f32));
        }
        let best = split == Split::Validation && self.is_best(&scores);
        let event = Event::Evaluation {
            unit: &self.unit.name,
            step,
            split,
            scored,
            scores: &scores,
            best,
        };
        self.tell(&event)?;
        let prefix = if split == Split::Test {
            "test"
        } else {
            "validation"
        };
        self.events
            .scalar(step, &format!("{prefix}/loss"), scores.loss as f32)?;
        for (name, value) in &scores.metrics {
            self.events
                .scalar(step, &format!("{prefix}/{name}"), *value as f32)?;
        }
        Ok(Some(scores))
    }

    fn save(&mut self, task: &mut dyn Task) -> Result<()> {
        // A step whose loss has not arrived may have diverged: what is saved must be known good.
        self.drain(task)?;
        let began = Instant::now();
        let tensors = task.save()?;
        if let Some((name, value)) = tensors
            .iter()
            .find_map(|(n, t)| Some((n, t.first_not_finite()?)))
        {
            return Err(self.diverged(&format!("'{name}'"), self.state.step, value));
        }
        self.state.position = task.position();
        self.state.seconds = self.seconds();
        self.state.sealed = true;
        self.log.sync()?;
        let path = self.checkpoints.save(&tensors, &self.state)?;
        self.state.spent.files += began.elapsed().as_secs_f64();
        self.progress.event(&Event::Checkpoint {
            unit: &self.unit.name,
            step: self.state.step,
            path: &path,
        });
        self.last_good = Some(path);
        self.saved_step = Some(self.state.step);
        Ok(())
    }

    /// Tests and writes the best model, and forgets the checkpoints that are no longer needed.
    fn finish(mut self, task: &mut dyn Task) -> Result<UnitEnd> {
        self.drain(task)?;
        let mut scored = self.state.step;
        if let Some(best) = self.checkpoints.best(&self.state) {
            let (tensors, state) = Checkpoints::load(&best)?;
            scored = state.step;
            task.load(&tensors)?;
            self.validation = self.evaluated(task, Split::Validation)?;
        }
        let test = self.score(task, Split::Test, scored)?;
        let began = Instant::now();
        write_model(&self.checkpoints.folder().join("model"), &task.export()?)?;
        self.checkpoints.rotate(0, &self.state)?;
        self.state.spent.files += began.elapsed().as_secs_f64();
        let seconds = self.seconds();
        let info = task.describe();
        let result = UnitResult {
            parameters: info.parameters,
            trainable: info.trainable,
            peak_memory: task.peak_memory(),
            unit: self.unit.name.clone(),
            stage: self.stage.name.clone(),
            seed: self.unit.seed,
            fold: self.unit.fold,
            steps: self.state.step,
            tokens: self.state.tokens,
            tokens_per_second: self.tokens_per_second(),
            seconds,
            spent: Some(self.state.spent),
            best_step: self.state.best.map(|(_, step)| step),
            stopped_early: self.state.step < self.total,
            warnings: Vec::new(),
            validation: self.validation.take(),
            test,
        };
        self.progress.event(&Event::Finish {
            unit: &self.unit.name,
            step: self.state.step,
            tokens_per_second: result.tokens_per_second,
            counted: self.counted,
            seconds,
        });
        Ok(UnitEnd::Finished(Box::new(result)))
    }
}

/// Puts a task back to where a checkpoint left it.
fn restore(
    task: &mut dyn Task,
    unit: &Unit,
    found: Checkpoint,
    progress: &mut dyn Progress,
) -> Result<TrainerState> {
    let (path, state) = (found.path, found.state);
    if state.unit != unit.name || state.seed != unit.seed {
        return Err(Error::Folder {
            path,
            problem: format!(
                "is a checkpoint of '{}' with seed {}, not of '{}' with seed {}",
                state.unit, state.seed, unit.name, unit.seed
            ),
        });
    }
    for aside in found.set_aside {
        let message = format!(
            "{}: a damaged checkpoint is now {}; going on from step {}{}",
            unit.name,
            aside.display(),
            state.step,
            if found.best_is_lost {
                ", without the best one so far"
            } else {
                ""
            }
        );
        progress.event(&Event::Note { message: &message });
    }
    task.load(&found.tensors)?;
    task.seek(&state.position)?;
    Ok(state)
}
