//! Layers of networks that read pictures.

use std::fmt::Display;

use super::vars::{Param, Vars};
use crate::error::Result;
use crate::ops::{self, RunningStatistics, Statistics, Window};
use crate::tensor::{Init, Tape, Tensor};

/// What a convolution is declared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv2dShape {
    /// Channels that it reads.
    pub inputs: usize,
    /// Channels that it makes.
    pub outputs: usize,
    /// Its window.
    pub window: Window,
    /// Groups of channels that know nothing of each other.
    pub groups: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// Standard deviation that its weight starts with, its bias with zeros; `None`: both uniform in
    /// ±1/√(inputs of an output), as PyTorch starts them.
    pub std: Option<f32>,
}

impl Conv2dShape {
    /// As PyTorch's `nn.Conv2d(inputs, outputs, …)`.
    pub fn new(inputs: usize, outputs: usize, window: Window) -> Conv2dShape {
        Conv2dShape {
            inputs,
            outputs,
            window,
            groups: 1,
            bias: true,
            std: None,
        }
    }

    /// The same as He et al. (2015) start what a ReLU follows, by the outputs of an input: torchvision's
    /// `kaiming_normal_` with `fan_out`.
    #[must_use]
    pub fn he(self) -> Conv2dShape {
        let fan = self.outputs * self.window.kernel.iter().product::<usize>();
        Conv2dShape {
            std: Some((2.0 / fan as f32).sqrt()),
            ..self
        }
    }

    /// The same without a bias.
    #[must_use]
    pub fn without_bias(self) -> Conv2dShape {
        Conv2dShape {
            bias: false,
            ..self
        }
    }
}

/// A convolution of pictures (N, H, W, C), as PyTorch's `nn.Conv2d` of (N, C, H, W).
pub struct Conv2d {
    /// (O, I / groups, kernel) in files.
    pub weight: Param,
    /// (O)
    pub bias: Option<Param>,
    window: Window,
    groups: usize,
}

impl Vars {
    /// Declares a convolution.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn conv2d(&self, name: impl Display, shape: Conv2dShape) -> Result<Conv2d> {
        let v = self.at(name);
        let [down, across] = shape.window.kernel;
        let inner = shape.inputs / shape.groups.max(1);
        let uniform = Init::Uniform(1.0 / ((inner * down * across) as f32).sqrt());
        let (weight, bias) = match shape.std {
            Some(std) => (Init::Normal(std), Init::Constant(0.0)),
            None => (uniform, uniform),
        };
        Ok(Conv2d {
            weight: v.channels_last("weight", [shape.outputs, inner, down, across], weight)?,
            bias: (shape.bias.then(|| v.param("bias", [shape.outputs], bias))).transpose()?,
            window: shape.window,
            groups: shape.groups,
        })
    }

    /// Declares a batch normalisation of so many channels.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn batch_norm2d(&self, name: impl Display, channels: usize) -> Result<BatchNorm2d> {
        let v = self.at(name);
        let [zero, one] = [0.0, 1.0].map(Init::Constant);
        Ok(BatchNorm2d {
            weight: v.param("weight", [channels], one)?,
            bias: v.param("bias", [channels], zero)?,
            running_mean: v.buffer("running_mean", [channels], zero)?,
            running_var: v.buffer("running_var", [channels], one)?,
            num_batches_tracked: v.buffer("num_batches_tracked", [], zero)?,
        })
    }
}

impl Conv2d {
    /// x (N, H, W, I) → (N, P, Q, O).
    ///
    /// # Errors
    /// As [`ops::conv2d`]; [`crate::Error::Parameter`] before it is bound.
    pub fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Param::get).transpose()?;
        let weight = self.weight.get()?;
        ops::conv2d(tape, x, &weight, bias.as_ref(), &self.window, self.groups)
    }
}

/// Added to variances, and the share of each batch in the running statistics: PyTorch's.
const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// Batch normalisation of pictures' channels, as PyTorch's `nn.BatchNorm2d`.
///
/// In training a batch is normalised by its own statistics, of which the running ones take their share; in
/// evaluation by the running ones. A frozen layer uses the running ones in training too and leaves them
/// alone: one that is told so, and, as in Keras, one whose weight is not trained.
pub struct BatchNorm2d {
    /// (C): scale.
    pub weight: Param,
    /// (C): shift.
    pub bias: Param,
    /// (C)
    pub running_mean: Param,
    /// (C), unbiased.
    pub running_var: Param,
    /// ()
    pub num_batches_tracked: Param,
}

impl BatchNorm2d {
    /// x (…, C), normalised; with `frozen` by the running statistics in any case.
    ///
    /// # Errors
    /// As [`ops::batch_norm`]; [`crate::Error::Parameter`] before it is bound.
    pub fn forward(&self, tape: &Tape, x: &Tensor, frozen: bool) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get()?, self.bias.get()?);
        let trains = tape.step_state().is_some() && weight.grad().is_some();
        let by = match trains && !frozen {
            true => Statistics::Batch { momentum: MOMENTUM },
            false => Statistics::Running,
        };
        let seen = RunningStatistics {
            mean: self.running_mean.get()?,
            var: self.running_var.get()?,
            tracked: self.num_batches_tracked.get()?,
        };
        ops::batch_norm(tape, x, [&weight, &bias], &seen, by, EPS)
    }
}
