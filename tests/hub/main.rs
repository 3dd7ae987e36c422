//! Files of transformers and PEFT: read, written, converted, merged, refused. What the fixtures hold
//! was written by the libraries themselves (tools/make_hf_fixtures.py).
#![cfg(feature = "train")]

mod adapters;
#[cfg(feature = "cli")]
mod commands;
mod errors;
mod models;
mod stacked;
mod support;
mod targets;
mod torch;
