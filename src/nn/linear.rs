//! The linear layer, in either layout, with whatever LoRA adds to it.

use std::fmt::Display;
use std::sync::{Arc, Mutex};

use super::lora::Adapter;
use super::vars::{Param, Vars};
use crate::device::lock;
use crate::error::Result;
use crate::ops::{self, DoraWeights, LoraWeights, WeightLayout};
use crate::tensor::{Init, Tape, Tensor};

/// What a linear layer is declared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearShape {
    /// I
    pub inputs: usize,
    /// O
    pub outputs: usize,
    /// How its weight lies.
    pub layout: WeightLayout,
    /// Whether it has a bias.
    pub bias: bool,
    /// Standard deviation that its weight starts with, its bias with zeros; `None`: both uniform in
    /// ±1/√I, as PyTorch starts them.
    pub std: Option<f32>,
}

impl LinearShape {
    /// As PyTorch's `nn.Linear(inputs, outputs)`.
    pub fn new(inputs: usize, outputs: usize) -> LinearShape {
        LinearShape {
            inputs,
            outputs,
            layout: WeightLayout::OutIn,
            bias: true,
            std: None,
        }
    }

    /// The same with a normal weight of this standard deviation and a bias of zeros.
    #[must_use]
    pub fn normal(self, std: f32) -> LinearShape {
        LinearShape {
            std: Some(std),
            ..self
        }
    }
}

/// The low-rank updates of a layer: none until [`Vars::adapt`] adds some.
#[derive(Clone, Default)]
pub(super) struct Adapters(Arc<Mutex<Vec<Adapter>>>);

impl Adapters {
    pub fn push(&self, adapter: Adapter) {
        lock(&self.0).push(adapter);
    }

    /// Takes all of them away.
    pub fn take(&self) -> Vec<Adapter> {
        std::mem::take(&mut lock(&self.0))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Adapter> {
        lock(&self.0).clone()
    }
}

/// `y = x·Wᵀ + b`, with W (O, I) and b (O), as PyTorch's `nn.Linear`; W (I, O) in the layout
/// [`WeightLayout::InOut`].
pub struct Linear {
    /// In the layer's layout.
    pub weight: Param,
    /// (O)
    pub bias: Option<Param>,
    layout: WeightLayout,
    adapters: Adapters,
}

impl Vars {
    /// Declares a linear layer as PyTorch's `nn.Linear(inputs, outputs)`.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn linear(&self, name: impl Display, inputs: usize, outputs: usize) -> Result<Linear> {
        self.linear_of(name, LinearShape::new(inputs, outputs))
    }

    /// Declares a linear layer of this shape.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn linear_of(&self, name: impl Display, shape: LinearShape) -> Result<Linear> {
        let v = self.at(&name);
        let uniform = Init::Uniform(1.0 / (shape.inputs as f32).sqrt());
        let (weight, bias) = match shape.std {
            Some(std) => (Init::Normal(std), Init::Constant(0.0)),
            None => (uniform, uniform),
        };
        let dims = shape.layout.shape(shape.outputs, shape.inputs);
        Ok(Linear {
            weight: v.param("weight", dims, weight)?,
            bias: (shape.bias.then(|| v.param("bias", [shape.outputs], bias))).transpose()?,
            layout: shape.layout,
            adapters: self.declare_linear(name, &shape),
        })
    }
}

impl Linear {
    fn bias(&self) -> Result<Option<Tensor>> {
        self.bias.as_ref().map(Param::get).transpose()
    }

    /// x (…, I) → (…, O).
    ///
    /// # Errors
    /// [`crate::Error::Shape`]; [`crate::Error::Parameter`] before it is bound.
    pub fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get()?, self.bias()?);
        let adapters = self.adapters.all();
        if adapters.is_empty() {
            return ops::linear_as(tape, x, &weight, bias.as_ref(), self.layout);
        }
        let tensors = adapters.iter().map(Adapter::tensors);
        let tensors: Vec<[Tensor; 2]> = tensors.collect::<Result<_>>()?;
        let pairs = adapters.iter().zip(&tensors);
        let loras: Vec<LoraWeights<'_>> = pairs.map(|(a, ab)| a.weights(ab)).collect();
        // There is one where lengths are learned.
        if let Some(lengths) = adapters.iter().find_map(Adapter::lengths) {
            let [magnitude, squares] = &lengths.tensors()?;
            let dora = DoraWeights {
                lora: loras[0].clone(),
                magnitude,
                squares,
            };
            return ops::dora_linear(tape, x, &weight, bias.as_ref(), self.layout, &dora);
        }
        ops::lora_linear(tape, x, &weight, bias.as_ref(), self.layout, &loras)
    }

    /// Cross entropy of softmax(x·Wᵀ + b), without storing the logits: x (N, I), targets (N) u32,
    /// weights (N); returns Σ weightᵢ·lossᵢ as (1). An adapted layer, or one whose weight is (I, O), does
    /// store them.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn cross_entropy(
        &self,
        tape: &Tape,
        x: &Tensor,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        let (weight, bias) = (self.weight.get()?, self.bias()?);
        if self.layout == WeightLayout::OutIn && self.adapters.all().is_empty() {
            return ops::linear_cross_entropy(tape, x, &weight, bias.as_ref(), targets, weights);
        }
        ops::cross_entropy(tape, &self.forward(tape, x)?, targets, weights)
    }
}
