//! Operators: check, dispatch forward, record; each with its backward in the same file.
//!
//! Parameters' gradients accumulate, activations' are overwritten by their first user.

mod attention;
mod batch_norm;
mod blocks;
mod conv;
mod cross_entropy;
mod dora;
mod dropout;
mod elementwise;
mod embedding;
mod gated;
mod kernel;
mod layout;
mod linear;
mod logits;
mod lora;
mod lstm;
pub mod matmul;
mod noise;
mod norm;
mod operand;
mod pool;
mod reduce;
mod rms_norm;
mod rope;
mod rows;
mod scores;
mod target_loss;
mod token_losses;
mod window;

pub use crate::kernels::token_index::TokenIndex;
pub use attention::{AttentionOptions, Seen, attention, attention_packed};
pub use batch_norm::{RunningStatistics, Statistics, batch_norm};
pub use conv::{ConvForm, conv2d, conv2d_as};
pub use cross_entropy::{
    cross_entropy, linear_cross_entropy, smoothed_cross_entropy, smoothed_linear_cross_entropy,
};
pub use dora::{DoraWeights, dora_linear, merge_dora, row_squares};
pub(crate) use dropout::Draw;
pub use dropout::dropout;
#[cfg(feature = "train")]
pub(crate) use elementwise::axpy;
pub use elementwise::{Binary, Unary, add, binary, cast, mul, scale, unary};
pub use embedding::{TokenIds, embedding};
pub use gated::{Gate, gated};
pub use layout::{cache_append, column, columns, concat, flatten};
pub use linear::{WeightLayout, linear, linear_as};
pub use lora::{LoraWeights, lora_linear, merge_lora, unmerge_lora};
pub use lstm::{LstmForm, LstmOptions, LstmOutput, LstmWeights, lstm, lstm_as};
pub use matmul::matmul;
pub use noise::noise;
pub use norm::{Normed, dropout_layer_norm, layer_norm};
pub use pool::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};
pub(crate) use reduce::SUM_CHUNK;
pub use reduce::sum_all;
pub use rms_norm::rms_norm;
pub use rope::{RopeTable, rope};
pub use rows::{RowSelection, mean_pool, select_rows};
pub use scores::score_logits;
pub use target_loss::{binary_cross_entropy, squared_error};
pub use token_losses::{linear_token_losses, token_losses};
pub use window::Window;
