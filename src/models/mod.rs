//! Models: layers put together, with the names their parameters have in files.

pub mod bert;
mod config;
pub mod gpt2;
mod heads;
pub mod lstm;

pub use config::{Labels, ProblemType};
