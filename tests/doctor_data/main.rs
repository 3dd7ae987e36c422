//! `melos doctor` on data: faults that were planted are counted exactly, whatever is learned of the data.
#![cfg(feature = "cli")]

mod labelled;
mod pretraining;
mod said;
mod support;
