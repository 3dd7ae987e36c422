//! What all objectives share: parameters, optimiser, recorded steps, losses on their way back,
//! and the tensors of a checkpoint.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::device::{Gpu, Readback, Recording};
use crate::error::{Error, Result};
use crate::models::lstm::{EMBEDDING, LSTM, LstmConfig};
use crate::optim::{Optimizer, OptimizerKind, StepState};
use crate::tensor::{DType, ParamSpec, ParamStore, Tape, Tensor};
use crate::text::{Keep, Position, Tokenizer, WordVectors};
use crate::train::config::{self, KeptEnd, Part, StageKind};
use crate::train::state::{HostDtype, HostTensor, TensorMap, check_tensors, read_tensors};
use crate::train::task::{StepContext, TaskRequest};

/// Steps that may be on their way before the host waits for the oldest.
const IN_FLIGHT: usize = 3;

/// One batch shape: its inputs on the device, and the step that reads them.
pub(super) struct Step<I> {
    pub inputs: I,
    recording: Recording,
    /// A training step's loss and gradient norm, or what a forward pass returns.
    result: Tensor,
}

impl<I> Step<I> {
    /// Records a forward pass without dropout.
    pub fn inference(
        gpu: &Gpu,
        inputs: I,
        forward: impl FnOnce(&Tape, &I) -> Result<Tensor>,
    ) -> Result<Step<I>> {
        let (recording, result) = gpu.record(|| forward(&Tape::inference(gpu), &inputs))?;
        Ok(Step {
            inputs,
            recording,
            result,
        })
    }

    /// Runs a forward pass and waits for what it returns.
    pub fn run(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        gpu.replay(&self.recording)?;
        self.result.to_vec()
    }
}

/// The steps recorded so far, by the length of their sequences.
pub(super) struct Steps<I>(HashMap<usize, Step<I>>);

impl<I> Steps<I> {
    pub fn new() -> Steps<I> {
        Steps(HashMap::new())
    }

    /// The step for sequences of `length`; recorded by `record` when it is the first of them.
    pub fn of(
        &mut self,
        length: usize,
        record: impl FnOnce() -> Result<Step<I>>,
    ) -> Result<&Step<I>> {
        Ok(match self.0.entry(length) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(record()?),
        })
    }
}

/// A model in training.
pub(super) struct Engine {
    pub gpu: Gpu,
    pub network: LstmConfig,
    pub store: ParamStore,
    optimizer: Optimizer,
    step_state: StepState,
    clip_norm: Option<f32>,
    pending: VecDeque<(u64, Readback)>,
    arrived: Vec<(u64, f32)>,
}

impl Engine {
    /// Allocates the parameters `specs` and starts them: from the seed, from the word vectors,
    /// or from the model folder of the request.
    pub fn new(
        gpu: Gpu,
        network: LstmConfig,
        specs: Vec<ParamSpec>,
        tokenizer: &Tokenizer,
        request: &TaskRequest<'_>,
    ) -> Result<Engine> {
        let seed = request.unit.seed;
        let store = ParamStore::new(&gpu, specs, seed, |_| 1.0)?;
        if let Some(path) = &request.config.model.word_vectors {
            set_word_vectors(&store, &WordVectors::read(path, tokenizer)?, path)?;
        }
        if let Some(folder) = &request.init {
            let whole = request.stage.kind == StageKind::Evaluate;
            transfer(
                &store,
                folder,
                (!whole).then_some(&request.stage.transfer[..]),
                tokenizer,
            )?;
        }
        let optimizer = Optimizer::new(&gpu, rule(&request.stage.optimizer), &store)?;
        let step_state = StepState::new(&gpu, seed)?;
        Ok(Engine {
            gpu,
            network,
            store,
            optimizer,
            step_state,
            clip_norm: request.stage.clip_norm,
            pending: VecDeque::new(),
            arrived: Vec::new(),
        })
    }

    /// Records a training step on `inputs`: forward, backward and update.
    pub fn record<I>(
        &self,
        inputs: I,
        loss: impl FnOnce(&Tape, &I) -> Result<Tensor>,
    ) -> Result<Step<I>> {
        let (recording, result) = self.gpu.record(|| {
            let tape = Tape::training(&self.gpu, self.step_state.tensor());
            let loss = loss(&tape, &inputs)?;
            tape.backward(&loss)?;
            let norm = self
                .optimizer
                .step(&self.store, &self.step_state, self.clip_norm)?;
            let report = Tensor::empty(&self.gpu, [2], DType::F32)?;
            report.set_range(0, 1, Some(&loss))?;
            report.set_range(1, 1, Some(&norm))?;
            Ok(report)
        })?;
        log::debug!("recorded a step of {} commands", recording.len());
        Ok(Step {
            inputs,
            recording,
            result,
        })
    }

    /// Runs a training step; its loss arrives later.
    pub fn train<I>(&mut self, cx: &StepContext, step: &Step<I>) -> Result<()> {
        if self.pending.len() >= IN_FLIGHT
            && let Some((number, readback)) = self.pending.pop_front()
        {
            self.arrived
                .push((number, loss_of(&readback.wait::<f32>()?)));
        }
        self.step_state.advance(&self.optimizer, cx.step, cx.lr)?;
        self.gpu.replay(&step.recording)?;
        self.pending.push_back((cx.step, step.result.read()?));
        Ok(())
    }

    /// Losses that have arrived.
    pub fn poll(&mut self) -> Result<Vec<(u64, f32)>> {
        while let Some((number, readback)) = self.pending.front() {
            let Some(values) = readback.try_get::<f32>()? else {
                break;
            };
            self.arrived.push((*number, loss_of(&values)));
            self.pending.pop_front();
        }
        Ok(std::mem::take(&mut self.arrived))
    }

    /// All losses; waits for them.
    pub fn drain(&mut self) -> Result<Vec<(u64, f32)>> {
        while let Some((number, readback)) = self.pending.pop_front() {
            self.arrived
                .push((number, loss_of(&readback.wait::<f32>()?)));
        }
        Ok(std::mem::take(&mut self.arrived))
    }

    /// The parameters under their names.
    pub fn parameters(&self) -> Result<TensorMap> {
        parameters(&self.store)
    }

    /// Parameters and optimiser state.
    pub fn save(&self) -> Result<TensorMap> {
        let mut tensors = self.parameters()?;
        for (name, tensor) in self.optimizer_slices()? {
            let values = tensor.to_vec::<f32>()?;
            tensors.insert(name, HostTensor::f32(tensor.dims(), &values));
        }
        Ok(tensors)
    }

    /// Puts back what [`Engine::save`] gave, besides the tensors in `others`.
    pub fn load(&self, tensors: &TensorMap, others: &[(String, Tensor)]) -> Result<()> {
        let mut all: Vec<(String, Tensor)> = self.optimizer_slices()?;
        for spec in self.store.specs() {
            all.push((spec.name.clone(), self.store.get(&spec.name)?));
        }
        all.extend(others.iter().cloned());
        let expected = all
            .iter()
            .map(|(name, t)| (name.as_str(), HostDtype::F32, t.dims()));
        check_tensors(tensors, expected, Path::new("checkpoint"))?;
        for (name, tensor) in &all {
            if let Some(values) = tensors.get(name).and_then(HostTensor::to_f32) {
                tensor.write(&values)?;
            }
        }
        Ok(())
    }

    /// The optimiser's state for each parameter, as `optimizer.STATE.PARAMETER`.
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
        Ok(slices)
    }
}

/// The loss of a step from its report, (loss, norm of the gradient). A gradient that is not finite
/// leaves the parameters as they were; its norm then stands for the loss, so that the run stops
/// instead of standing still.
fn loss_of(report: &[f32]) -> f32 {
    match *report {
        [loss, norm] if norm.is_finite() => loss,
        [_, norm] => norm,
        _ => f32::NAN,
    }
}

/// All parameters of a store, on the host.
pub(super) fn parameters(store: &ParamStore) -> Result<TensorMap> {
    store
        .specs()
        .map(|spec| {
            let values = store.get(&spec.name)?.to_vec::<f32>()?;
            Ok((spec.name.clone(), HostTensor::f32(&spec.shape.0, &values)))
        })
        .collect()
}

/// Takes parameters over from a model folder: those of `parts`, or all of them.
pub(super) fn transfer(
    store: &ParamStore,
    folder: &Path,
    parts: Option<&[Part]>,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let file = folder.join("model.safetensors");
    let theirs = Tokenizer::load(folder.join("tokenizer.json"))?;
    if theirs.hash() != tokenizer.hash() {
        return Err(Error::Folder {
            path: folder.to_path_buf(),
            problem: "its tokenizer.json is not this run's; set tokenizer.file to it".into(),
        });
    }
    let tensors = read_tensors(&file)?;
    let wanted = |name: &str| {
        let of = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        parts.is_none_or(|parts| {
            parts.iter().any(|part| match part {
                Part::Embedding => of(EMBEDDING),
                Part::Lstm => of(LSTM),
            })
        })
    };
    let specs: Vec<&ParamSpec> = store.specs().filter(|spec| wanted(&spec.name)).collect();
    let taken: TensorMap = tensors
        .into_iter()
        .filter(|(name, _)| parts.is_none() || wanted(name))
        .collect();
    let expected = specs
        .iter()
        .map(|s| (s.name.as_str(), HostDtype::F32, &s.shape.0[..]));
    check_tensors(&taken, expected, &file)?;
    for spec in specs {
        if let Some(values) = taken.get(&spec.name).and_then(HostTensor::to_f32) {
            store.get(&spec.name)?.write(&values)?;
        }
    }
    Ok(())
}

/// Overwrites the rows of the embedding for which there is a vector.
fn set_word_vectors(store: &ParamStore, vectors: &WordVectors, path: &Path) -> Result<()> {
    let table = store.get(&format!("{EMBEDDING}.weight"))?;
    let width = table.shape().last();
    let mut values = table.to_vec::<f32>()?;
    for (id, row) in values.chunks_mut(width).enumerate() {
        let Some(vector) = vectors.row(id as u32) else {
            continue;
        };
        if vector.len() != width {
            return Err(Error::Vectors {
                path: path.to_path_buf(),
                place: "first vector".into(),
                message: format!(
                    "holds {} numbers, model.embedding is {width}; set one to the other",
                    vector.len()
                ),
            });
        }
        row.copy_from_slice(vector);
    }
    log::info!(
        "word vectors cover {:.1} % of the vocabulary",
        100.0 * vectors.coverage()
    );
    table.write(&values)
}

fn rule(config: &config::Optimizer) -> OptimizerKind {
    use config::Optimizer as C;
    match *config {
        C::Sgd { weight_decay } => OptimizerKind::Sgd {
            momentum: 0.0,
            nesterov: false,
            weight_decay,
        },
        C::Momentum {
            momentum,
            weight_decay,
        } => OptimizerKind::Sgd {
            momentum,
            nesterov: false,
            weight_decay,
        },
        C::Nesterov {
            momentum,
            weight_decay,
        } => OptimizerKind::Sgd {
            momentum,
            nesterov: true,
            weight_decay,
        },
        C::Adagrad { eps, weight_decay } => OptimizerKind::AdaGrad { eps, weight_decay },
        C::Adam {
            beta1,
            beta2,
            eps,
            weight_decay,
        } => OptimizerKind::Adam {
            beta1,
            beta2,
            eps,
            weight_decay,
        },
        C::Adamw {
            beta1,
            beta2,
            eps,
            weight_decay,
        } => OptimizerKind::AdamW {
            beta1,
            beta2,
            eps,
            weight_decay,
        },
        C::Rmsprop {
            alpha,
            momentum,
            eps,
            weight_decay,
        } => OptimizerKind::RmsProp {
            alpha,
            eps,
            momentum,
            centered: false,
            weight_decay,
        },
    }
}

/// Targets on the host as the kernels take them: -1 becomes `u32::MAX`.
pub(super) fn as_targets(values: &[i32]) -> Vec<u32> {
    values.iter().map(|&v| v as u32).collect()
}

/// Weights that make a sum over the targets that count their mean; and how many count.
pub(super) fn mean_weights(targets: &[u32]) -> (Vec<f32>, usize) {
    let count = targets.iter().filter(|&&t| t != u32::MAX).count();
    let share = 1.0 / count.max(1) as f32;
    (
        targets
            .iter()
            .map(|&t| if t == u32::MAX { 0.0 } else { share })
            .collect(),
        count,
    )
}

/// A position in the batches, for a checkpoint.
pub(super) fn position(position: Position) -> Value {
    // Three whole numbers: this cannot fail.
    serde_json::to_value(position).unwrap_or_default()
}

pub(super) fn parse_position(value: &Value) -> Result<Position> {
    serde_json::from_value(value.clone()).map_err(|e| Error::Folder {
        path: "trainer.json".into(),
        problem: format!("its data position is damaged ({e}); resume from an older checkpoint"),
    })
}

pub(super) fn kept_end(end: KeptEnd) -> Keep {
    match end {
        KeptEnd::Head => Keep::Head,
        KeptEnd::Tail => Keep::Tail,
    }
}
