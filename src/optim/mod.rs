//! Optimisers, learning-rate schedules and gradient clipping.

mod loss_scale;
mod optimizer;
pub mod schedule;
mod step_state;

pub use loss_scale::LossScale;
pub use optimizer::{Optimizer, OptimizerKind};
pub use step_state::StepState;
