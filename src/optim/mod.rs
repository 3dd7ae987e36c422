//! Optimisers, learning-rate schedules and gradient clipping.

mod optimizer;
pub mod schedule;
mod step_state;

pub use optimizer::{Optimizer, OptimizerKind};
pub use step_state::StepState;
