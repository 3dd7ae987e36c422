//! Optimisers, clipping and learning-rate schedules.

mod optimizer;

pub use optimizer::{Optimizer, OptimizerKind, StepState};
