//! What a program that defines a model of its own needs: `use melos::prelude::*`.

pub use crate::device::Gpu;
pub use crate::error::{Error, Result};
pub use crate::nn::{Embedding, LayerNorm, Linear, LstmLayers, Vars, mean_cross_entropy};
pub use crate::ops::{self, Unary};
pub use crate::optim::OptimizerKind;
pub use crate::tensor::{DType, Init, Tape, Tensor};
pub use crate::trainer::{Trainer, TrainingStep, load, save};
