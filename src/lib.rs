//! melos: pretrain and fine-tune language models on any GPU.

pub mod error;
pub use error::{Error, Result};

#[cfg(feature = "gpu")]
pub mod optim;

#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "cli")]
pub mod cli;
