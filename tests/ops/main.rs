//! Every operator, every form of the product and of the LSTM step, and the optimisers, on the device
//! against the f64 references: in the middle of a graph, forward and backward, at odd sizes.
#![cfg(feature = "train")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../reference/mod.rs"]
mod reference;

mod attention;
mod dora;
mod dropout;
mod elementwise;
mod forms;
mod half;
mod layout;
mod lora;
mod loss;
mod lstm;
mod norm;
mod optim;
mod pictures;
mod products;
mod rotary;
mod rows;
mod select;
mod support;
mod tape;
