//! melos: language-model training on any GPU. See the modules for each layer.

pub mod kernels;
#[cfg(feature = "translate")]
pub mod translate;
