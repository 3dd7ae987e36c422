//! The element-wise, reduction, dropout, embedding, loss and optimiser kernels on the device,
//! against literal f64 forms: odd sizes, peaked inputs, NaN-filled outputs, guard words,
//! accumulation.
#![cfg(feature = "gpu")]

#[path = "../common/mod.rs"]
mod common;
mod elementwise;
mod lookup;
mod loss;
mod optim;
mod reduce;
mod support;
