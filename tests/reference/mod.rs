//! Slow, literal references: what every kernel and model is tested against. They share nothing with
//! the engine. Each is written once for any `Float`: at f64 it says what is right, at f32 how far a
//! plain f32 program strays, which is the measure in `compare`. `tests/reference_check` checks the
//! references themselves, by central differences and against PyTorch.
//!
//! Shapes: T time, B batch, C width, V vocabulary, I and H the input and state of an LSTM; row-major,
//! sequences time-major.

// Every test file compiles this module for itself and uses only part of it.
#![allow(dead_code, unused_imports)]
// The loops are the formulas: one index, several arrays.
#![allow(clippy::needless_range_loop)]

pub mod attention;
pub mod compare;
pub mod data;
pub mod elementwise;
pub mod embedding;
#[cfg(feature = "train")]
pub mod fixture;
pub mod float;
pub mod lora;
pub mod loss;
pub mod lstm;
pub mod matmul;
pub mod models;
pub mod norm;
pub mod optim;
pub mod rows;
pub mod tolerance;

pub use compare::{assert_close, assert_near, assert_same_bits};
pub use data::{Data, ODD_SIZES};
pub use float::{Float, cast};
