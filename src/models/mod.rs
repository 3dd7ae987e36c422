//! Models: layers put together, with the names their parameters have in files.

pub mod lstm;
