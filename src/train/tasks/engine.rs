//! What all objectives share: parameters, optimiser, recorded steps, losses on their way back,
//! and the tensors of a checkpoint.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::average::Average;
use crate::device::{Gpu, Readback, Recording};
use crate::error::Result;
use crate::hub::Array;
use crate::nn::Vars;
use crate::objectives::feed::{Feed, Pass};
use crate::ops::axpy;
use crate::optim::{LossScale, Optimizer, OptimizerKind, StepState};
use crate::tensor::{DType, ParamSpec, ParamStore, Tape, Tensor};
use crate::train::config::Precision;
use crate::train::state::{TensorMap, check_tensors};
use crate::train::task::StepContext;

/// Steps that may be on their way before the host waits for the oldest.
const IN_FLIGHT: usize = 3;

/// A loss scale below this cannot be what gradients overflow by: the run has diverged.
const LEAST_SCALE: f32 = 1.0 / 1024.0;

/// The loss scale and its good steps, in a checkpoint.
const LOSS_SCALE: &str = "optimizer.loss_scale";

/// How an engine updates its parameters.
pub(super) struct EngineOptions {
    pub optimizer: OptimizerKind,
    pub clip_norm: Option<f32>,
    /// Steps from one level of parameters to the next, where they are unfrozen one by one.
    pub unfreeze_every: Option<u64>,
    /// Micro-batches of a step.
    pub accumulate: usize,
    pub precision: Precision,
    /// What each step counts of the next in the average of parameters, where there is one.
    pub ema: Option<f64>,
    pub seed: u64,
}

/// Parameters in training.
pub(super) struct Engine {
    pub gpu: Gpu,
    pub store: ParamStore,
    /// The handles by which the model has them.
    vars: Vars,
    optimizer: Optimizer,
    step_state: StepState,
    options: EngineOptions,
    average: Option<Average>,
    /// Sum of the losses of a step's micro-batches.
    loss: Tensor,
    /// The update at the store's level, and its report: (loss, norm of the gradient, loss scale
    /// from the next step on).
    update: Option<(Recording, Tensor)>,
    pending: VecDeque<(u64, Readback)>,
    arrived: Vec<(u64, f32)>,
    /// The last loss scale that was reported, and where it became another.
    scale: f32,
    scales: Vec<(u64, f32)>,
}

impl Engine {
    /// Takes over a model's parameters and binds its handles to them.
    pub fn new(gpu: Gpu, store: ParamStore, vars: Vars, options: EngineOptions) -> Result<Engine> {
        vars.bind(&store)?;
        let mut optimizer = Optimizer::new(&gpu, options.optimizer, &store)?;
        let mut scale = 1.0;
        if options.precision == Precision::F16 {
            gpu.require_f16()?;
            scale = LossScale::INITIAL;
            let dynamic = LossScale::dynamic(&gpu, scale, LossScale::INTERVAL)?;
            optimizer = optimizer.with_loss_scale(dynamic);
        }
        let last = store.levels().last().copied().unwrap_or(0);
        let every = options.unfreeze_every.unwrap_or(0);
        let before: Vec<u64> = (0..=last as u64).map(|level| level * every).collect();
        let step_state = StepState::with_levels(&gpu, options.seed, &before)?;
        let loss = Tensor::zeros(&gpu, [1])?;
        let average = options.ema.map(|decay| Average::new(&gpu, &store, decay));
        let average = average.transpose()?;
        Ok(Engine {
            gpu,
            store,
            vars,
            optimizer,
            step_state,
            options,
            average,
            loss,
            update: None,
            pending: VecDeque::new(),
            arrived: Vec::new(),
            scale,
            scales: Vec::new(),
        })
    }

    /// Sets the level of parameters that step `step` trains. Where it is another one than before,
    /// the answer is true: recordings made at the old one are to be made anew.
    pub fn reach(&mut self, step: u64) -> Result<bool> {
        let Some(every) = self.options.unfreeze_every else {
            return Ok(false);
        };
        let last = self.store.levels().last().copied().unwrap_or(0);
        let level = usize::try_from((step.max(1) - 1) / every).map_or(last, |l| l.min(last));
        if level == self.store.level() {
            return Ok(false);
        }
        self.store.set_level(level);
        self.vars.bind(&self.store)?;
        self.update = None;
        Ok(true)
    }

    /// Records the passes of a micro-batch: forward and backward. What `learn` gives beside the loss is what the
    /// pass gives.
    pub fn record(
        &self,
        feed: Feed,
        learn: impl FnOnce(&Tape, &Feed) -> Result<(Tensor, Vec<Tensor>)>,
    ) -> Result<Pass> {
        let (recording, said) = self.gpu.record(|| {
            let (state, scale) = (self.step_state.tensor(), self.optimizer.loss_scale());
            let tape = match self.options.precision {
                Precision::F32 => Tape::training(&self.gpu, state),
                Precision::F16 => Tape::mixed(&self.gpu, state, scale.tensor())?,
            };
            let (loss, said) = learn(&tape, &feed)?;
            tape.backward(&loss)?;
            axpy(&self.loss, &loss, 1.0, None, true)?;
            Ok(said)
        })?;
        log::debug!("recorded a pass of {} commands", recording.len());
        Ok(Pass::recorded(feed, recording, said))
    }

    /// Runs micro-batch number `micro` of a step, from 0.
    pub fn train(&mut self, cx: &StepContext, micro: usize, pass: &Recording) -> Result<()> {
        let part = (micro as u32, self.options.accumulate as u32);
        self.step_state
            .advance_part(&self.optimizer, cx.step, cx.lr, part)?;
        self.gpu.replay(pass)
    }

    /// Updates the parameters at the end of a step; its loss arrives later.
    pub fn update(&mut self, cx: &StepContext) -> Result<()> {
        if self.pending.len() >= IN_FLIGHT
            && let Some((number, readback)) = self.pending.pop_front()
        {
            self.note(number, &readback.wait::<f32>()?);
        }
        if self.update.is_none() {
            self.update = Some(self.gpu.record(|| {
                let (store, state) = (&self.store, &self.step_state);
                let norm = self.optimizer.step(store, state, self.options.clip_norm)?;
                if let Some(average) = &self.average {
                    average.record(store)?;
                }
                let scale = self.optimizer.loss_scale().tensor();
                let report = Tensor::empty(&self.gpu, [3], DType::F32)?;
                report.set_range(0, 1, Some(&self.loss))?;
                report.set_range(1, 1, Some(&norm))?;
                report.set_range(2, 1, Some(scale))?;
                self.loss.clear();
                Ok(report)
            })?);
        }
        if let Some((recording, report)) = &self.update {
            self.gpu.replay(recording)?;
            if let Some(average) = &mut self.average {
                average.count();
            }
            self.pending.push_back((cx.step, report.read()?));
        }
        Ok(())
    }

    /// Losses that have arrived.
    pub fn poll(&mut self) -> Result<Vec<(u64, f32)>> {
        while let Some((number, readback)) = self.pending.front() {
            let Some(values) = readback.try_get::<f32>()? else {
                break;
            };
            let number = *number;
            self.pending.pop_front();
            self.note(number, &values);
        }
        Ok(std::mem::take(&mut self.arrived))
    }

    /// All losses; waits for them.
    pub fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        while let Some((number, readback)) = self.pending.pop_front() {
            self.note(number, &readback.wait::<f32>()?);
        }
        Ok(std::mem::take(&mut self.arrived))
    }

    /// Where the loss scale became another, in steps that have been reported.
    pub fn loss_scales(&mut self) -> Vec<(u64, f32)> {
        std::mem::take(&mut self.scales)
    }

    /// Takes in the report of a step.
    fn note(&mut self, step: u64, report: &[f32]) {
        let &[loss, norm, scale] = report else {
            return;
        };
        if scale != self.scale {
            self.scale = scale;
            self.scales.push((step, scale));
        }
        // A gradient that is not finite leaves the parameters as they were. In f32, or where no
        // scale would help, its norm then stands for the loss, so that the run stops instead of
        // standing still.
        let overflowed = self.options.precision == Precision::F16 && scale >= LEAST_SCALE;
        let loss = if norm.is_finite() || overflowed {
            loss
        } else {
            norm
        };
        self.arrived.push((step, loss));
    }

    /// Runs `of` on the parameters by which the model is judged: their average, where there is one.
    /// Training goes on from where it was.
    pub fn judged<T>(&self, of: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let Some(average) = &self.average else {
            return of(self);
        };
        average.put(&self.store)?;
        let result = of(self);
        average.put_back(&self.store)?;
        result
    }

    /// The parameters by which the model is judged, under their names.
    pub fn parameters(&self) -> Result<TensorMap> {
        self.judged(|engine| parameters(&engine.store, |_| true))
    }

    /// What training changes: parameters that are trained at some level, buffers, and optimiser
    /// state.
    pub fn save(&self) -> Result<TensorMap> {
        let mut tensors = parameters(&self.store, |spec| self.changes(spec))?;
        for (name, tensor) in (self.optimizer_slices()?.into_iter()).chain(self.loss_scale()) {
            tensors.insert(name, Array::whole(tensor.dims(), tensor.to_vec()?));
        }
        if let Some(average) = &self.average {
            average.save(&mut tensors);
        }
        Ok(tensors)
    }

    fn changes(&self, spec: &ParamSpec) -> bool {
        spec.buffer || self.store.place(&spec.name).is_some()
    }

    /// The loss scale under its name, where there is one.
    fn loss_scale(&self) -> Option<(String, Tensor)> {
        let tensor = || self.optimizer.loss_scale().tensor().clone();
        (self.options.precision == Precision::F16).then(|| (LOSS_SCALE.into(), tensor()))
    }

    /// Puts back what [`Engine::save`] gave, besides the tensors in `others`.
    pub fn load(&mut self, tensors: &TensorMap, others: &[(String, Tensor)]) -> Result<()> {
        let mut tensors = Cow::Borrowed(tensors);
        if let Some(average) = &mut self.average {
            average.load(tensors.to_mut());
        }
        let tensors = &*tensors;
        let mut all: Vec<(String, Tensor)> = self.optimizer_slices()?;
        for spec in self.store.specs() {
            // A frozen one is as it was when the stage began, then and now.
            if self.changes(spec) {
                all.push((spec.name.clone(), self.store.get(&spec.name)?));
            }
        }
        all.extend(self.loss_scale());
        all.extend(others.iter().cloned());
        let specs = self.store.specs().map(|spec| (spec.name.as_str(), spec));
        let specs: BTreeMap<&str, &ParamSpec> = specs.collect();
        let shape = |name: &str, t: &Tensor| match specs.get(name) {
            Some(spec) => spec.shape.0.clone(),
            None => t.dims().to_vec(),
        };
        let shapes: Vec<_> = all.iter().map(|(name, t)| shape(name, t)).collect();
        let names = all.iter().map(|(name, _)| name.as_str());
        let expected = names.zip(shapes.iter().map(|s| &s[..]));
        check_tensors(tensors, expected, Path::new("checkpoint"))?;
        for (name, tensor) in &all {
            if let Some(values) = tensors.get(name).map(Array::values) {
                match specs.get(name.as_str()) {
                    Some(spec) => tensor.write(&spec.to_held(values.as_ref()))?,
                    None => tensor.write(&values)?,
                }
                if name == LOSS_SCALE {
                    self.scale = values.first().copied().unwrap_or(self.scale);
                }
            }
        }
        Ok(())
    }

    /// The optimiser's state for each parameter, as `optimizer.STATE.PARAMETER`, and what is averaged.
    fn optimizer_slices(&self) -> Result<Vec<(String, Tensor)>> {
        let mut slices = Vec::new();
        for spec in self.store.specs() {
            let Some(place) = self.store.place(&spec.name) else {
                continue;
            };
            let state = &self.optimizer.state()[place.group];
            for (kind, flat) in self.optimizer.kind().state_names().iter().zip(state) {
                let slice = flat.window(place.start, spec.shape.clone())?;
                slices.push((format!("optimizer.{kind}.{}", spec.name), slice));
            }
        }
        if let Some(average) = &self.average {
            slices.extend(average.slices(&self.store)?);
        }
        Ok(slices)
    }
}

/// Some parameters of a store, on the host.
fn parameters(store: &ParamStore, wanted: impl Fn(&ParamSpec) -> bool) -> Result<TensorMap> {
    store
        .specs()
        .filter(|spec| wanted(spec))
        .map(|spec| {
            let values = spec.from_held(store.get(&spec.name)?.to_f32_vec()?);
            Ok((spec.name.clone(), Array::whole(&spec.shape.0, values)))
        })
        .collect()
}
