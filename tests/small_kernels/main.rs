//! The attention, element-wise, reduction, normalisation, dropout, embedding, row, loss and
//! optimiser kernels on the device, against literal f64 forms: odd sizes, peaked inputs, NaN-filled
//! outputs, guard words, accumulation.
#![cfg(feature = "gpu")]

#[path = "../reference/mod.rs"]
mod reference;

mod attention;
mod elementwise;
mod lookup;
mod loss;
mod norm;
mod optim;
mod reduce;
mod rows;
mod support;
#[allow(dead_code, reason = "benchmarks ask for more")]
#[path = "../../benches/support/values.rs"]
mod values;
