//! Operators: check, dispatch forward, record; each with its backward in the same file.
mod fill;
pub use fill::fill;
