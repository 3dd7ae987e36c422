//! Every family against transformers and PEFT; what training them must keep; generation.
#![cfg(feature = "train")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../reference/mod.rs"]
mod reference;

mod bert;
mod beside;
mod decoders;
mod distilbert;
mod encoders;
mod generation;
mod gpt2;
mod llama;
mod mixed;
mod noise;
mod packed;
mod roberta;
mod support;
mod training;
