//! Layers: named parameters and a forward pass made of operators.

mod decoder;
mod dora;
mod linear;
mod lora;
mod lstm;
mod picture;
mod rope;
mod transformer;
mod vars;

pub use decoder::{DecoderBlock, GateLayers, GatedFeedForward, RmsNorm, RotaryAttention};
pub use dora::magnitude_of;
pub use linear::{Linear, LinearShape};
pub use lora::{LoraPlan, LoraUpdate};
pub use lstm::{LstmLayers, LstmLayersOutput, LstmShape};
pub use picture::{BatchNorm2d, Conv2d, Conv2dShape};
pub use rope::{Rope, RopeScaling};
pub use transformer::{
    CausalBlock, FeedForward, HiddenAct, LayerNorm, PostNormBlock, PreNormBlock, Projections,
    Segments, SelfAttention, Wanted, first_rows,
};
pub use vars::{Module, Param, Vars};

use std::fmt::Display;

use crate::error::Result;
use crate::ops::{self, TokenIds};
use crate::tensor::{DType, Init, Tape, Tensor};

/// The mean cross entropy of softmax(logits), as (1): logits (N, K), targets (N) u32, all of which
/// count.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn mean_cross_entropy(tape: &Tape, logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let weights = Tensor::empty(tape.gpu(), [targets.len()], DType::F32)?;
    weights.fill(1.0 / targets.len() as f32)?;
    ops::cross_entropy(tape, logits, targets, &weights)
}

/// A row for each token of the vocabulary.
pub struct Embedding {
    /// (V, E)
    pub weight: Param,
}

impl Vars {
    /// Declares a table of `rows` rows, `width` wide.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn embedding(
        &self,
        name: impl Display,
        rows: usize,
        width: usize,
        init: Init,
    ) -> Result<Embedding> {
        let weight = self.at(name).param("weight", [rows, width], init)?;
        Ok(Embedding { weight })
    }
}

impl Embedding {
    /// ids (T, B) → (T, B, E).
    ///
    /// # Errors
    /// [`crate::Error::Shape`]; [`crate::Error::Parameter`] before it is bound.
    pub fn forward(&self, tape: &Tape, ids: &TokenIds) -> Result<Tensor> {
        ops::embedding(tape, &self.weight.get()?, ids)
    }
}
