//! The references of `melos::reference`, and what only tests need beside them: whole models, PyTorch's
//! numbers, assertions.

// Every test file compiles this module for itself and uses only part of it.
#![allow(dead_code, unused_imports)]
// The loops are the formulas: one index, several arrays.
#![allow(clippy::needless_range_loop)]

mod assertions;
#[cfg(feature = "train")]
pub mod fixture;
pub mod models;

pub use assertions::{assert_close, assert_near, assert_same_bits};
pub use melos::reference::*;
