//! Optimisers, learning-rate schedules and gradient clipping.

mod optimizer;
pub mod schedule;

pub use optimizer::{Optimizer, OptimizerKind, StepState};
