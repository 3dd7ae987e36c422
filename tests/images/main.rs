//! Pictures: decoded and resized as Pillow does it, read from wherever they lie, trained on and asked about.
#![cfg(feature = "train")]

mod decode;
#[cfg(feature = "cli")]
mod refused;
#[cfg(feature = "cli")]
mod runs;
mod sources;
mod support;
