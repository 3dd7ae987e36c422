//! The numbers of a step that change from one to the next.

use super::Optimizer;
use crate::device::{Gpu, params};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// Words of a level's numbers.
const NUMBERS: usize = 7;

/// The numbers that change from step to step, on the device; a recorded step reads them anew.
pub struct StepState {
    /// One for each level of parameters: what joins later has made fewer steps.
    levels: Vec<Level>,
    seed: u64,
}

struct Level {
    tensor: Tensor,
    /// Steps before its first one.
    before: u64,
}

impl StepState {
    /// The state before the first step.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn new(gpu: &Gpu, seed: u64) -> Result<StepState> {
        StepState::with_levels(gpu, seed, &[0])
    }

    /// As [`StepState::new`], for parameters that join during training: those of level `l` are
    /// first updated in step `before[l] + 1`. At least one level.
    ///
    /// # Errors
    /// As [`StepState::new`]; [`Error::Argument`] without a level.
    pub fn with_levels(gpu: &Gpu, seed: u64, before: &[u64]) -> Result<StepState> {
        if before.is_empty() {
            let expected = "at least one";
            return Err(Error::argument("optimizer", "levels", "none", expected));
        }
        let levels = before
            .iter()
            .map(|&before| {
                let tensor = Tensor::empty(gpu, [NUMBERS], DType::U32)?;
                Ok(Level { tensor, before })
            })
            .collect::<Result<_>>()?;
        let state = StepState { levels, seed };
        state.write(1, 1, 0.0, (0.0, 0.0))?;
        Ok(state)
    }

    /// Prepares step `step`, counted from 1, at learning rate `lr`.
    ///
    /// # Errors
    /// [`Error::Argument`] for step 0; [`Error::Device`] inside a recording.
    pub fn advance(&self, optimizer: &Optimizer, step: u64, lr: f32) -> Result<()> {
        self.advance_part(optimizer, step, lr, (0, 1))
    }

    /// Prepares part `index` of `count` of a step whose gradients are added up over as many
    /// batches: each part drops other elements. Record the parts' backward passes apart from
    /// [`Optimizer::step`], which follows the last of them and zeroes the gradients; weigh each
    /// part's loss by its share of the whole.
    ///
    /// # Errors
    /// As [`StepState::advance`].
    pub fn advance_part(
        &self,
        optimizer: &Optimizer,
        step: u64,
        lr: f32,
        (index, count): (u32, u32),
    ) -> Result<()> {
        if step == 0 {
            let (op, arg, value) = ("optimizer", "step", "0".to_string());
            return Err(Error::argument(op, arg, value, "1 or more"));
        }
        let draw = (step - 1) * u64::from(count) + u64::from(index) + 1;
        self.write(step, draw, lr, optimizer.kind().betas())
    }

    fn write(&self, step: u64, draw: u64, lr: f32, (beta1, beta2): (f32, f32)) -> Result<()> {
        for level in &self.levels {
            let own = step.saturating_sub(level.before).max(1);
            // In f64: a power in f32 drifts over many steps.
            let bias = |beta: f32| (1.0 - f64::from(beta).powf(own as f64)) as f32;
            let numbers = params! {
                step: u32 = own,
                draw: u32,
                seed_lo: u32 = self.seed,
                seed_hi: u32 = self.seed >> 32,
                lr: f32,
                bias1: f32 = bias(beta1),
                bias2: f32 = bias(beta2),
            };
            let numbers: [u32; NUMBERS] = bytemuck::cast(numbers);
            level.tensor.write(&numbers)?;
        }
        Ok(())
    }

    /// The numbers, for a training tape.
    pub fn tensor(&self) -> &Tensor {
        &self.levels[0].tensor
    }

    /// The numbers for parameters of a level.
    pub(super) fn level(&self, level: usize) -> &Tensor {
        &self.levels[level.min(self.levels.len() - 1)].tensor
    }
}
