//! melos: pretrain and fine-tune language models on any GPU.

mod error;
#[cfg(feature = "train")]
pub mod text;

pub use error::{Error, Result};
