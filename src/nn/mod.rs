//! Layers: named parameters and a forward pass made of operators.

mod lora;
mod lstm;
mod transformer;

pub use lora::{Dense, LinearShape, LoraPlan, LoraUpdate, merge_adapters};
pub use lstm::{LstmLayers, LstmLayersOutput, LstmShape};
pub use transformer::{
    FeedForward, HiddenAct, LayerNorm, PostNormBlock, PreNormBlock, Projections, SelfAttention,
    Wanted, first_rows,
};

use crate::error::Result;
use crate::ops::{self, TokenIds};
use crate::tensor::{Init, ParamSpec, ParamStore, Tape, Tensor};

/// `y = x·Wᵀ + b`, with W (O, I) and b (O), as PyTorch's `nn.Linear`.
pub struct Linear {
    /// (O, I)
    pub weight: Tensor,
    /// (O)
    pub bias: Tensor,
}

impl Linear {
    /// Its parameters, uniform in ±1/√I as PyTorch starts them.
    pub fn specs(prefix: &str, inputs: usize, outputs: usize) -> Vec<ParamSpec> {
        let init = Init::Uniform(1.0 / (inputs as f32).sqrt());
        vec![
            ParamSpec::new(format!("{prefix}.weight"), [outputs, inputs], init),
            ParamSpec::new(format!("{prefix}.bias"), [outputs], init),
        ]
    }

    /// The layer whose parameters stand in `store` under `prefix`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when one is missing.
    pub fn new(store: &ParamStore, prefix: &str) -> Result<Linear> {
        Ok(Linear {
            weight: store.get(&format!("{prefix}.weight"))?,
            bias: store.get(&format!("{prefix}.bias"))?,
        })
    }

    /// x (…, I) → (…, O).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        ops::linear(tape, x, &self.weight, Some(&self.bias))
    }

    /// Cross entropy of softmax(x·Wᵀ + b), without storing the logits: x (N, I), targets (N) u32,
    /// weights (N); returns Σ weightᵢ·lossᵢ as (1).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn cross_entropy(
        &self,
        tape: &Tape,
        x: &Tensor,
        targets: &Tensor,
        weights: &Tensor,
    ) -> Result<Tensor> {
        ops::linear_cross_entropy(tape, x, &self.weight, Some(&self.bias), targets, weights)
    }
}

/// A row for each token of the vocabulary.
pub struct Embedding {
    /// (V, E)
    pub weight: Tensor,
}

impl Embedding {
    /// Its parameter. Dai & Le start small; ±0.1 uniform keeps the first gates near their middle.
    pub fn specs(prefix: &str, vocab: usize, width: usize) -> Vec<ParamSpec> {
        vec![ParamSpec::new(
            format!("{prefix}.weight"),
            [vocab, width],
            Init::Uniform(0.1),
        )]
    }

    /// The layer whose parameter stands in `store` under `prefix`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when it is missing.
    pub fn new(store: &ParamStore, prefix: &str) -> Result<Embedding> {
        Ok(Embedding {
            weight: store.get(&format!("{prefix}.weight"))?,
        })
    }

    /// ids (T, B) → (T, B, E).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, ids: &TokenIds) -> Result<Tensor> {
        ops::embedding(tape, &self.weight, ids)
    }
}
