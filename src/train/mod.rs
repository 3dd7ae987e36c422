//! Training: run files, the loop, checkpoints, metrics and reports.
//!
//! A run is a list of stages; a stage that repeats (by seeds or folds) gives several *units*,
//! run one after the other. [`run`] drives a whole run, `trainer` one unit, and a [`Task`] is
//! what a unit trains: the only part that knows a model and a GPU.

mod advice;
pub mod artifacts;
pub mod config;
pub mod estimate;
pub mod fit;
mod longer;
pub(crate) mod lr_find;
mod machine;
mod markdown;
pub mod page;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod preview_pictures;
pub(crate) mod probe;
pub(crate) mod profile;
pub mod progress;
pub mod report;
pub mod run;
mod session;
pub mod spent;
pub mod state;
pub(crate) mod stats;
mod stop;
pub mod survey;
pub mod task;
pub mod tasks;
pub(crate) mod trainer;
pub(crate) mod tune;

pub use crate::objectives::scores::Scores;
pub use config::{Overrides, RunConfig, StageConfig};
pub use session::{fit, train};
pub use state::TensorMap;
pub use stop::StopFlag;
pub use task::{ModelFiles, Split, StepContext, StepInfo, Task, TaskInfo, TaskRequest, Unit};
