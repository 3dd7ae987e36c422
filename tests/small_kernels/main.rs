//! The attention, element-wise, reduction, dropout, embedding, loss and optimiser kernels on the device,
//! against literal f64 forms: odd sizes, peaked inputs, NaN-filled outputs, guard words,
//! accumulation.
#![cfg(feature = "gpu")]

mod attention;
mod elementwise;
mod lookup;
mod loss;
mod optim;
mod reduce;
mod support;
