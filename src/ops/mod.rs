//! Operators: check, dispatch forward, record; each with its backward in the same file.
//!
//! Parameters' gradients accumulate, activations' are overwritten by their first user.

mod attention;
mod attention_form;
mod cross_entropy;
mod dropout;
mod elementwise;
mod embedding;
mod layout;
mod linear;
mod lora;
mod lstm;
mod lstm_form;
mod lstm_steps;
pub mod matmul;
mod matmul_choice;
mod matmul_image;
mod matmul_pack;
mod matmul_params;
pub mod matmul_plan;
mod matmul_split;
mod matmul_timing;
mod norm;
mod operand;
mod reduce;
mod rows;
mod scores;
mod target_loss;

/// Values in one element of a kernel's buffers: four where a size allows it (the flag `VEC4`), else
/// one. Wide loads pay most on CPU drivers.
pub(crate) fn lanes(size: usize) -> usize {
    if size.is_multiple_of(4) { 4 } else { 1 }
}

pub use attention::{AttentionOptions, attention, attention_packed};
pub use cross_entropy::{cross_entropy, linear_cross_entropy, smoothed_cross_entropy};
pub use dropout::dropout;
pub(crate) use elementwise::axpy;
pub use elementwise::{Binary, Unary, add, binary, cast, fill, mul, scale, unary};
pub use embedding::{TokenIds, TokenIndex, embedding};
pub use layout::{cache_append, column, columns, concat};
pub use linear::{WeightLayout, linear, linear_as};
pub use lora::{LoraWeights, lora_linear, merge_lora, unmerge_lora};
pub use lstm::{LstmOptions, LstmOutput, LstmWeights, lstm, lstm_as};
pub use lstm_form::LstmForm;
pub use matmul::matmul;
pub use norm::{Normed, dropout_layer_norm, layer_norm};
pub use reduce::sum_all;
pub(crate) use reduce::{SUM_CHUNK, sum_all_into, sum_columns};
pub use rows::{RowSelection, mean_pool, select_rows};
pub use scores::score_logits;
pub use target_loss::{binary_cross_entropy, squared_error};
