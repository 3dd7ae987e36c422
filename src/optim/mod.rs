//! Optimisers, learning-rate schedules and gradient clipping.

pub mod schedule;
