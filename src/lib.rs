//! melos: pretrain and fine-tune language models on any GPU, in Rust, with hand-written WGSL
//! kernels on wgpu.
//!
//! The crate is layered, each layer a feature that needs the one before it: [`kernels`] (WGSL
//! and contracts, nothing else), `translate` (naga: SPIR-V, MSL, HLSL), `gpu` (devices, tensors,
//! operators, models), `train` (text, training, files) and `cli`.
//!
//! Fine-tuning a model of Hugging Face's by LoRA, as `melos train` does, with checkpoints, metrics and
//! the best adapter in PEFT's format ([examples/finetune_lora.rs]):
//!
//! ```no_run
#![cfg_attr(feature = "train", doc = include_str!("../examples/finetune_lora.rs"))]
//! ```
//!
//! A model of one's own, defined, trained, saved and loaded ([examples/own_model.rs]):
//!
//! ```no_run
#![cfg_attr(feature = "train", doc = include_str!("../examples/own_model.rs"))]
//! ```
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

#![warn(missing_docs)]

pub mod kernels;
#[cfg(feature = "translate")]
pub mod translate;

#[cfg(feature = "translate")]
mod atomic;
#[cfg(feature = "gpu")]
pub mod blocks;
#[cfg(feature = "gpu")]
mod bounded;
#[cfg(feature = "gpu")]
mod cache;
#[cfg(feature = "gpu")]
pub mod device;
#[cfg(feature = "gpu")]
pub mod doctor;
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
pub mod reference;
#[cfg(feature = "gpu")]
pub mod tensor;

#[cfg(feature = "train")]
pub mod hub;
#[cfg(feature = "train")]
pub mod images;
#[cfg(feature = "train")]
pub mod inference;
#[cfg(feature = "train")]
pub mod objectives;
#[cfg(feature = "train")]
pub mod prelude;
#[cfg(feature = "train")]
mod schema;
#[cfg(feature = "train")]
pub mod text;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
mod trainer;

#[cfg(feature = "cli")]
pub mod cli;

#[cfg(feature = "gpu")]
pub use error::{Error, Result};
#[cfg(feature = "train")]
pub use inference::{Model, open, predict};
#[cfg(feature = "train")]
pub use train::fit;
#[cfg(feature = "train")]
pub use trainer::{Trainer, TrainingStep, load, save};
