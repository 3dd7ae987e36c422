//! RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2020), with the parameter names and the values of
//! transformers' `RobertaModel`: BERT's layers with other heads, positions that begin behind the padding
//! token's, and one segment for all.

mod config;
#[cfg(feature = "train")]
mod family;
mod heads;

pub use config::RobertaConfig;
#[cfg(feature = "train")]
pub use family::{ROBERTA, XLM_ROBERTA};
pub use heads::{classifier, masked_lm, pooled, tagger};

use super::bert;
use super::encoder::{Segments, TextEncoder};
use crate::error::Result;
use crate::nn::Vars;

/// Declares an encoder under transformers' names, which begin with `roberta.` in a model with a head.
///
/// # Errors
/// [`crate::Error::ModelConfig`]; those of [`Vars::param`].
pub fn encoder(v: &Vars, config: &RobertaConfig) -> Result<TextEncoder> {
    config.validate()?;
    let encoder = bert::encoder(v, &config.bert)?;
    let segments = encoder.segments.map(|segments| Segments {
        told: false,
        ..segments
    });
    Ok(TextEncoder {
        first_position: config.first_position()?,
        segments,
        ..encoder
    })
}
