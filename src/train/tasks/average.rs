//! The exponential moving average of a model's parameters (Polyak and Juditsky 1992), by which it is scored
//! and written: `ema`.

use crate::device::Gpu;
use crate::error::Result;
use crate::hub::Array;
use crate::ops::axpy;
use crate::tensor::{ParamStore, Tensor};
use crate::train::state::TensorMap;

/// How many steps are averaged, in a checkpoint.
const STEPS: &str = "ema.steps";

/// The mean of the parameters after each step, of which each counts `decay` times as much as the next. As
/// Adam's moments it begins at zero, and is divided by what all steps count together.
pub struct Average {
    decay: f64,
    /// Σ of the groups' parameters, each with what its step counts; and room for as many numbers.
    sums: Vec<[Tensor; 2]>,
    steps: u64,
}

impl Average {
    /// Of a store's trained parameters, before the first step.
    pub fn new(gpu: &Gpu, store: &ParamStore, decay: f64) -> Result<Average> {
        let pair = |len: usize| Ok([Tensor::zeros(gpu, [len])?, Tensor::zeros(gpu, [len])?]);
        let groups = store.groups().iter();
        Ok(Average {
            decay,
            sums: groups
                .map(|group| pair(group.values.len()))
                .collect::<Result<_>>()?,
            steps: 0,
        })
    }

    /// Queues the share of a step; recorded with the step's update.
    pub fn record(&self, store: &ParamStore) -> Result<()> {
        for ([sum, room], group) in self.sums.iter().zip(store.groups()) {
            axpy(room, sum, self.decay as f32, None, false)?;
            axpy(room, &group.values, (1.0 - self.decay) as f32, None, true)?;
            sum.copy_from(room)?;
        }
        Ok(())
    }

    /// Counts a step whose share has been queued.
    pub fn count(&mut self) {
        self.steps += 1;
    }

    /// Puts the average in the parameters' place.
    pub fn put(&self, store: &ParamStore) -> Result<()> {
        if self.steps == 0 {
            return Ok(());
        }
        let all = 1.0 - self.decay.powf(self.steps as f64);
        for ([sum, room], group) in self.sums.iter().zip(store.groups()) {
            room.copy_from(&group.values)?;
            axpy(&group.values, sum, (1.0 / all) as f32, None, false)?;
        }
        Ok(())
    }

    /// Puts the parameters back as they were.
    pub fn put_back(&self, store: &ParamStore) -> Result<()> {
        if self.steps == 0 {
            return Ok(());
        }
        let mut both = self.sums.iter().zip(store.groups());
        both.try_for_each(|([_, room], group)| group.values.copy_from(room))
    }

    /// What a checkpoint holds of it besides [`slices`](Self::slices).
    pub fn save(&self, tensors: &mut TensorMap) {
        tensors.insert(STEPS.into(), Array::whole(&[1], vec![self.steps as f32]));
    }

    /// The sums, a part for each parameter.
    pub fn slices(&self, store: &ParamStore) -> Result<Vec<(String, Tensor)>> {
        let mut slices = Vec::new();
        for spec in store.specs() {
            if let Some(place) = store.place(&spec.name) {
                let slice = self.sums[place.group][0].window(place.start, spec.shape.clone())?;
                slices.push((format!("ema.{}", spec.name), slice));
            }
        }
        Ok(slices)
    }

    /// Takes the number of steps out of a checkpoint, whose other tensors are left.
    pub fn load(&mut self, tensors: &mut TensorMap) {
        let steps = tensors.remove(STEPS).map(Array::into_values);
        self.steps = steps
            .and_then(|values| values.first().copied())
            .unwrap_or(0.0) as u64;
    }
}
