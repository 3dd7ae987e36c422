//! The operators and their references, as [`prove`](super::proof::prove) takes them.

pub mod attention;
pub mod dropout;
pub mod elementwise;
pub mod layout;
pub mod lora;
pub mod loss;
pub mod lstm;
pub mod norm;
pub mod packed;
pub mod pictures;
pub mod products;
pub mod rotary;
pub mod rows;
pub mod select;
