//! Slow, literal references: what every kernel is held to, by the tests and by
//! [`doctor`](crate::doctor) on the user's own adapter.
//!
//! They share nothing with the engine. Each is written once for any [`Float`]: at f64 it says what
//! is right, at f32 how far a plain f32 program strays, which is the measure of [`compare`]. The tests
//! check the references themselves, by central differences and against PyTorch.
//!
//! Shapes: N, H, W, C pictures; T time, B batch, C width, V vocabulary, I and H the input and state of an LSTM; row-major,
//! sequences time-major. Where the lengths of what they are given do not fit each other, they panic.

// The loops are the formulas: one index, several arrays.
#![allow(clippy::needless_range_loop)]

pub mod attention;
pub mod batch_norm;
pub mod compare;
pub mod conv;
pub mod data;
pub mod elementwise;
pub mod embedding;
mod float;
pub mod lora;
pub mod loss;
pub mod lstm;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod rope;
pub mod rows;
pub mod tolerance;

pub use data::{Data, ODD_SIZES};
pub use float::{Float, cast};
