//! melos: pretrain and fine-tune language models on any GPU, in Rust, with hand-written WGSL
//! kernels on wgpu.
//!
//! The crate is layered, each layer a feature that needs the one before it: [`kernels`] (WGSL
//! and contracts, nothing else), `translate` (naga: SPIR-V, MSL, HLSL), `gpu` (devices, tensors,
//! operators, models), `train` (text, training, files) and `cli`.
//!
//! The kernels alone, for another engine (`default-features = false`):
//!
//! ```
//! use melos::kernels::{Target, Variant, catalogue};
//!
//! let wgsl = catalogue::source("lstm_step_fwd", &Variant::new(), Target::Web)?;
//! let contract = catalogue::contract("lstm_step_fwd")?;
//! # assert!(wgsl.contains("fn lstm_step_fwd"));
//! # assert!(!contract.bindings.is_empty());
//! # Ok::<(), melos::kernels::KernelError>(())
//! ```

pub mod kernels;
#[cfg(feature = "translate")]
pub mod translate;

#[cfg(feature = "gpu")]
pub mod atomic;
#[cfg(feature = "gpu")]
mod cache;
#[cfg(feature = "gpu")]
pub mod device;
#[cfg(feature = "gpu")]
pub mod error;
#[cfg(feature = "gpu")]
pub mod models;
#[cfg(feature = "gpu")]
pub mod nn;
#[cfg(feature = "gpu")]
pub mod ops;
#[cfg(feature = "gpu")]
pub mod optim;
#[cfg(feature = "gpu")]
pub mod tensor;

#[cfg(feature = "train")]
pub mod hub;
#[cfg(feature = "train")]
pub mod inference;
#[cfg(feature = "train")]
pub mod objectives;
#[cfg(feature = "train")]
mod schema;
#[cfg(feature = "train")]
pub mod text;
#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "gpu")]
pub use error::{Error, Result};
