//! The program from outside, on a GPU: whole runs on the texts in `tests/data`, seconds each.
#![cfg(feature = "cli")]

mod asking;
mod average;
mod bad_input;
mod class_weights;
mod data_mistakes;
mod families;
mod japanese;
mod labels;
mod lr_find;
mod lstm;
mod metrics;
mod mixed;
mod one_text;
mod packed;
mod profile;
mod published;
mod reading;
mod report;
mod resume;
mod runs;
mod smoothing;
mod support;
mod transformers;
mod transformers_adapters;
mod transformers_refused;
mod tune;
mod vocabularies;
