//! One [`Task`] for all objectives: an objective says what a batch is and what its loss, the task
//! does the rest.

use serde_json::Value;

use super::ahead::Ahead;
use super::engine::{Engine, Step, Steps};
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::hub::Array;
use crate::tensor::{Tape, Tensor};
use crate::text::{
    BucketBatches, CausalBatch, CausalBatches, LabelledBatch, LabelledBatches, LmBatch, LmBatches,
    Position, SequenceBatch,
};
use crate::train::config::StageConfig;
use crate::train::estimate::Estimate;
use crate::train::metrics::Scores;
use crate::train::state::TensorMap;
use crate::train::task::{ModelFiles, Split, StepContext, StepInfo, Task, TaskInfo};

/// An endless stream of batches.
pub(super) trait Stream: Send + 'static {
    type Batch: Send;

    fn batches_per_epoch(&self) -> u64;
    /// The next one, for step `step` of `total`: how text is masked may change on the way.
    fn next(&mut self, step: u64, total: u64) -> Self::Batch;
    /// Where the next one begins.
    fn position(&self) -> Position;
    fn seek(&mut self, position: Position);
    /// Length of a batch's sequences; batches of one length share a recorded pass.
    fn length(batch: &Self::Batch) -> usize;
}

/// Streams whose batches depend on nothing but the position, with the length of a batch's sequences.
macro_rules! streams {
    ($($stream:ident of $batch:ident by $($length:ident).+;)*) => {$(
        impl Stream for $stream {
            type Batch = $batch;

            fn batches_per_epoch(&self) -> u64 {
                self.batches_per_epoch()
            }

            fn next(&mut self, _: u64, _: u64) -> $batch {
                self.next_batch()
            }

            fn position(&self) -> Position {
                self.position()
            }

            fn seek(&mut self, position: Position) {
                self.seek(position);
            }

            fn length(batch: &$batch) -> usize {
                batch.$($length).+
            }
        }
    )*};
}

streams! {
    LmBatches of LmBatch by time;
    BucketBatches of SequenceBatch by time;
    CausalBatches of CausalBatch by inputs.time;
    LabelledBatches of LabelledBatch by inputs.time;
}

/// A batch of a stream of an objective.
pub(super) type BatchOf<O> = <<O as Objective>::Stream as Stream>::Batch;

/// What is learned, of what, by which model.
pub(super) trait Objective {
    type Stream: Stream;
    /// A batch on the device.
    type Inputs;

    /// What is learned, in a few words, and the tokens of an epoch.
    fn describe(&self, stream: &Self::Stream) -> TaskInfo;

    /// Memory for such a batch, to train on or to score.
    fn inputs(&self, gpu: &Gpu, batch: &BatchOf<Self>, training: bool) -> Result<Self::Inputs>;

    /// Uploads a batch, its losses weighted so that they add up to the mean over all batches of
    /// its step; returns how many targets it has itself.
    fn write(
        &self,
        inputs: &Self::Inputs,
        batch: &BatchOf<Self>,
        step: &[BatchOf<Self>],
    ) -> Result<u64>;

    /// Tokens that a batch reads.
    fn tokens(batch: &BatchOf<Self>) -> u64;

    /// The weighted loss, (1).
    fn loss(&self, tape: &Tape, inputs: &Self::Inputs) -> Result<Tensor>;

    /// Scores the model on a split; `None` where there is no such split.
    fn evaluate(
        &mut self,
        gpu: &Gpu,
        scoring: &mut Steps<Self::Inputs>,
        split: Split,
    ) -> Result<Option<Scores>>;

    /// State that lives from step to step besides parameters.
    fn carried(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// The model as files.
    fn export(&self, engine: &Engine) -> Result<ModelFiles>;
}

/// Mean loss per target over the batches of an epoch, as a language model's scores.
pub(super) fn language_scores<O: Objective>(
    objective: &O,
    gpu: &Gpu,
    scoring: &mut Steps<O::Inputs>,
    stream: &mut O::Stream,
) -> Result<Scores> {
    let (mut loss, mut targets) = (0.0, 0);
    for _ in 0..stream.batches_per_epoch() {
        let batch = stream.next(1, 1);
        let step = scoring.of(O::Stream::length(&batch), || {
            let inputs = objective.inputs(gpu, &batch, false)?;
            Step::inference(gpu, inputs, |tape, i| Ok(vec![objective.loss(tape, i)?]))
        })?;
        let count = objective.write(&step.inputs, &batch, std::slice::from_ref(&batch))?;
        let [mean] = step.run(gpu)? else { continue };
        loss += f64::from(mean.to_vec::<f32>()?[0]) * count as f64;
        targets += count;
    }
    Scores::language(loss, targets)
}

/// An objective in training.
pub(super) struct ObjectiveTask<O: Objective> {
    engine: Engine,
    objective: O,
    stream: Ahead<O::Stream>,
    /// What was known of it at the start.
    info: TaskInfo,
    steps: Steps<O::Inputs>,
    scoring: Steps<O::Inputs>,
}

impl<O: Objective> ObjectiveTask<O> {
    pub fn new(
        engine: Engine,
        objective: O,
        stream: O::Stream,
        stage: &StageConfig,
    ) -> Result<ObjectiveTask<O>> {
        let mut info = objective.describe(&stream);
        info.summary = format!("{}, on {}", info.summary, engine.gpu.caps());
        // An epoch is made of whole steps; what is left begins the next one.
        let batches = stream.batches_per_epoch();
        info.steps_per_epoch = batches.div_ceil(stage.accumulate as u64);
        let (all, trained) = engine.store.counts();
        info.parameters = all as u64;
        info.trainable = trained as u64;
        Ok(ObjectiveTask {
            engine,
            objective,
            stream: Ahead::new(stream, stage.accumulate)?,
            info,
            steps: Steps::new(),
            scoring: Steps::new(),
        })
    }

    /// The same, telling what memory it needs.
    pub fn sized(mut self, size: Estimate) -> ObjectiveTask<O> {
        self.info.notes.push(size.sentence());
        self.info.size = Some(size);
        self
    }
}

impl<O: Objective> Task for ObjectiveTask<O> {
    fn describe(&self) -> TaskInfo {
        self.info.clone()
    }

    fn train_step(&mut self, cx: &StepContext) -> Result<StepInfo> {
        if self.engine.reach(cx.step)? {
            self.steps.clear();
        }
        let batches = self.stream.step(cx.step, cx.total);
        for (micro, batch) in batches.iter().enumerate() {
            let step = self.steps.of(O::Stream::length(batch), || {
                let inputs = self.objective.inputs(&self.engine.gpu, batch, true)?;
                self.engine
                    .record(inputs, |tape, i| self.objective.loss(tape, i))
            })?;
            self.objective.write(&step.inputs, batch, &batches)?;
            self.engine.train(cx, micro, step)?;
        }
        self.engine.update(cx)?;
        Ok(StepInfo {
            tokens: batches.iter().map(O::tokens).sum(),
        })
    }

    fn poll_losses(&mut self) -> Result<Vec<(u64, f32)>> {
        self.engine.poll()
    }

    fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        self.engine.drain()
    }

    fn loss_scales(&mut self) -> Vec<(u64, f32)> {
        self.engine.loss_scales()
    }

    fn evaluate(&mut self, split: Split) -> Result<Option<Scores>> {
        self.objective
            .evaluate(&self.engine.gpu, &mut self.scoring, split)
    }

    fn save(&mut self) -> Result<TensorMap> {
        let mut tensors = self.engine.save()?;
        for (name, tensor) in self.objective.carried() {
            tensors.insert(name, Array::whole(tensor.dims(), tensor.to_vec()?));
        }
        Ok(tensors)
    }

    fn load(&mut self, tensors: &TensorMap) -> Result<()> {
        self.engine.load(tensors, &self.objective.carried())
    }

    fn position(&self) -> Value {
        // Three whole numbers: this cannot fail.
        serde_json::to_value(self.stream.position()).unwrap_or_default()
    }

    fn seek(&mut self, position: &Value) -> Result<()> {
        let position = serde_json::from_value(position.clone()).map_err(|e| Error::Folder {
            path: "trainer.json".into(),
            problem: format!("its data position is damaged ({e}); resume from an older checkpoint"),
        })?;
        self.stream.seek(position);
        Ok(())
    }

    fn export(&mut self) -> Result<ModelFiles> {
        self.objective.export(&self.engine)
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.engine.gpu)
    }

    fn peak_memory(&self) -> Option<u64> {
        Some(self.engine.gpu.memory().peak)
    }
}

/// Targets on the host as the kernels take them: -1 becomes `u32::MAX`.
pub(super) fn as_targets(values: &[i32]) -> Vec<u32> {
    values.iter().map(|&v| v as u32).collect()
}

/// How many targets count.
pub(super) fn count(targets: &[i32]) -> usize {
    targets.iter().filter(|&&t| t >= 0).count()
}

/// Weights that make sums over the targets that count add up to their mean over all the `step`'s
/// targets.
pub(super) fn mean_weights<'a>(targets: &[i32], step: impl Iterator<Item = &'a [i32]>) -> Vec<f32> {
    let share = 1.0 / step.map(count).sum::<usize>().max(1) as f32;
    let weight = |&t: &i32| if t < 0 { 0.0 } else { share };
    targets.iter().map(weight).collect()
}
