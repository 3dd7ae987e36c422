//! What decoders of all families share: what is asked of their layers, their heads, and how they write.

mod cache;
mod heads;

pub use cache::{KeyValueCache, Place, Step};
pub use heads::{DecoderClassifier, DecoderLm, DecoderTagger};

use crate::error::Result;
use crate::models::network::Network;
use crate::nn::{Param, Wanted};
use crate::ops::TokenIds;
use crate::tensor::{Tape, Tensor};

/// A decoder's embeddings and layers.
pub trait DecoderLayers: Network {
    /// The word embeddings (V, C), which a language model's output layer may share.
    fn words(&self) -> &Param;

    /// Longest sequence.
    fn positions(&self) -> usize;

    /// Widths of what a cache holds of each token: of each layer's keys and values.
    fn kept(&self) -> Vec<usize>;

    /// The last layer's output, normalised (B, T, C), or only the wanted rows of it, for ids (B, T)
    /// padded on the right: no token sees what follows it, so padding changes nothing before it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a sequence longer than there are positions.
    fn forward(&self, tape: &Tape, ids: &TokenIds, wanted: &Wanted) -> Result<Tensor>;

    /// The same of tokens that follow those in the cache; appends their keys and values.
    ///
    /// # Errors
    /// As [`DecoderLayers::forward`].
    fn read(
        &self,
        tape: &Tape,
        place: &Place,
        cache: &KeyValueCache,
        wanted: &Wanted,
    ) -> Result<Tensor>;
}
