//! Training a model of one's own: its parameters, an optimiser and a step that is recorded once and
//! replayed.

use std::path::Path;

use crate::atomic::write_file_with;
use crate::device::{Gpu, Recording};
use crate::error::{Error, Result};
use crate::hub::{Array, TensorFile, write_tensors};
use crate::nn::Vars;
use crate::optim::{Optimizer, OptimizerKind, StepState};
use crate::tensor::{DType, ParamSpec, ParamStore, Rule, Tape, Tensor};

/// A model in training.
///
/// ```no_run
/// use melos::device::Gpu;
/// use melos::nn::Vars;
/// use melos::optim::OptimizerKind;
/// use melos::tensor::{DType, Tensor};
/// use melos::{Trainer, ops};
///
/// let (gpu, v) = (Gpu::open_best()?, Vars::new());
/// let model = v.linear("line", 1, 1)?;
/// let x = Tensor::from_slice(&gpu, [4, 1], &[0f32, 1.0, 2.0, 3.0])?;
/// let y = Tensor::from_slice(&gpu, [4, 1], &[1f32, 3.0, 5.0, 7.0])?;
/// let weights = Tensor::from_slice(&gpu, [4], &[0.25f32; 4])?;
/// let mut trainer = Trainer::new(&gpu, &v, OptimizerKind::ADAM, 1)?;
/// let step = trainer.record(|tape| {
///     ops::squared_error(tape, &model.forward(tape, &x)?, &y, &weights)
/// })?;
/// for _ in 0..500 {
///     trainer.step(&step, 0.05)?;
/// }
/// println!("{}", step.loss()?);
/// trainer.save("line.safetensors")?;
/// # Ok::<(), melos::Error>(())
/// ```
pub struct Trainer {
    gpu: Gpu,
    vars: Vars,
    store: ParamStore,
    optimizer: Optimizer,
    state: StepState,
    /// Largest norm of the whole gradient; `None`: as it is.
    pub clip_norm: Option<f32>,
    steps: u64,
}

/// A training step of one batch shape: its inputs are the tensors that it was recorded with, and a
/// new batch is written into them.
pub struct TrainingStep {
    recording: Recording,
    loss: Tensor,
}

impl TrainingStep {
    /// The loss before the last update; waits for it.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn loss(&self) -> Result<f32> {
        Ok(self.loss.to_vec::<f32>()?[0])
    }
}

impl Trainer {
    /// Allocates what a model has declared in `vars`, started from `seed`, and an optimiser for it.
    /// Everything is trained; biases and norms, which have one axis, without weight decay.
    ///
    /// # Errors
    /// As [`Vars::store`].
    pub fn new(gpu: &Gpu, vars: &Vars, optimizer: OptimizerKind, seed: u64) -> Result<Trainer> {
        let store = vars.store_with(gpu, seed, |spec| Rule {
            lr_scale: 1.0,
            decays: spec.shape.0.len() > 1,
            level: 0,
            dtype: DType::F32,
        })?;
        Ok(Trainer {
            gpu: gpu.clone(),
            vars: vars.clone(),
            optimizer: Optimizer::new(gpu, optimizer, &store)?,
            state: StepState::new(gpu, seed)?,
            store,
            clip_norm: None,
            steps: 0,
        })
    }

    /// Records a step: the loss, (1), its backward pass and the update. The closure runs once.
    ///
    /// # Errors
    /// Those of the closure and of the device.
    pub fn record(&self, loss: impl FnOnce(&Tape) -> Result<Tensor>) -> Result<TrainingStep> {
        let (recording, loss) = self.gpu.record(|| {
            let tape = Tape::training(&self.gpu, self.state.tensor());
            let loss = loss(&tape)?;
            tape.backward(&loss)?;
            self.optimizer
                .step(&self.store, &self.state, self.clip_norm)?;
            Ok(loss)
        })?;
        Ok(TrainingStep { recording, loss })
    }

    /// Runs a step with this learning rate, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn step(&mut self, step: &TrainingStep, lr: f32) -> Result<()> {
        self.steps += 1;
        self.state.advance(&self.optimizer, self.steps, lr)?;
        self.gpu.replay(&step.recording)
    }

    /// Numbers that are trained.
    pub fn parameters(&self) -> usize {
        self.store.counts().1
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Writes the model's parameters and buffers to a safetensors file; it appears whole or not at
    /// all.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::Io`], [`Error::DiskFull`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save(&self.vars, path)
    }
}

/// Writes what a model has declared, and holds, to a safetensors file.
///
/// # Errors
/// As [`Trainer::save`]; [`Error::Parameter`] before it is bound.
pub fn save(vars: &Vars, path: impl AsRef<Path>) -> Result<()> {
    let mut arrays = Vec::new();
    for ((name, tensor), spec) in vars.tensors()?.into_iter().zip(vars.specs()) {
        let array = Array::new(&spec.shape.0, spec.from_held(tensor.to_f32_vec()?));
        let array = array.ok_or_else(|| Error::Parameter {
            name: name.clone(),
            message: "has not as many numbers as its shape says".into(),
        })?;
        arrays.push((name, array));
    }
    let tensors: Vec<(String, &Array)> = arrays.iter().map(|(n, a)| (n.clone(), a)).collect();
    write_file_with(path.as_ref(), |out| {
        write_tensors(out, &tensors, None, None)
    })
}

/// Builds a model with the values of a safetensors file, on `gpu` and without gradients.
///
/// # Errors
/// Those of `new`; [`Error::FileMissing`]; [`Error::TensorFile`] for a tensor that is missing, has
/// another shape, or that the model does not have.
pub fn load<M>(
    gpu: &Gpu,
    path: impl AsRef<Path>,
    new: impl FnOnce(&Vars) -> Result<M>,
) -> Result<M> {
    let (path, vars) = (path.as_ref(), Vars::new());
    let model = new(&vars)?;
    let file = TensorFile::open(path)?;
    let wrong = |name: &str, problem: String| Error::TensorFile {
        file: path.to_path_buf(),
        tensor: Some(name.to_string()),
        problem,
    };
    let specs = vars.specs();
    if let Some(name) = file
        .names()
        .iter()
        .find(|n| specs.iter().all(|s| s.name != **n))
    {
        return Err(wrong(
            name,
            "is no tensor of this model; the file is another's".into(),
        ));
    }
    let mut values = Vec::with_capacity(specs.len());
    for spec in &specs {
        let array = file.array(&spec.name)?;
        if array.shape() != spec.shape.0 {
            return Err(wrong(
                &spec.name,
                format!("has shape {:?}, expected {}", array.shape(), spec.shape),
            ));
        }
        values.push(array.into_values());
    }
    let zeroed = specs.iter().cloned().map(ParamSpec::zeroed).collect();
    let store = ParamStore::new(gpu, zeroed, 0, |_| 0.0)?;
    for (spec, values) in specs.iter().zip(&values) {
        store.get(&spec.name)?.write(&spec.to_held(&values[..]))?;
    }
    vars.bind(&store)?;
    Ok(model)
}
