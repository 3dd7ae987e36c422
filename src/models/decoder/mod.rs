//! What decoders of all families share: their layers one after the other, their heads, and how they
//! write.

mod cache;
mod heads;

use std::sync::Arc;

pub use cache::{KeyValueCache, Place, Step};
pub use heads::{DecoderClassifier, DecoderLm, DecoderTagger};

use crate::error::{Error, Result};
use crate::models::inputs::Tokens;
use crate::models::network::Network;
use crate::nn::{CausalBlock, Param, Segments, Wanted};
use crate::ops::{self, TokenIds};
use crate::tensor::{Tape, Tensor};

/// One layer of a decoder.
pub trait DecoderLayer: CausalBlock + Send + Sync + 'static {
    /// [`CausalBlock::forward`] of tokens that follow those whose keys and values, (B, S, KH·D) each, are in a cache;
    /// appends theirs.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn read(
        &self,
        tape: &Tape,
        x: &Tensor,
        place: &Place,
        kept: &(Tensor, Tensor),
        wanted: &Wanted,
    ) -> Result<Tensor>;
}

/// Layers one after the other.
pub struct Stack<L> {
    layers: Vec<Arc<L>>,
    /// Whether they are computed again on the way back instead of kept.
    pub checkpointing: bool,
}

impl<L: DecoderLayer> Stack<L> {
    /// So many layers, by their numbers.
    ///
    /// # Errors
    /// Those of `layer`.
    pub fn new(count: usize, layer: impl Fn(usize) -> Result<L>) -> Result<Stack<L>> {
        Ok(Stack {
            layers: (0..count)
                .map(|n| layer(n).map(Arc::new))
                .collect::<Result<_>>()?,
            checkpointing: false,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.layers.len()
    }

    fn layer(
        &self,
        tape: &Tape,
        index: usize,
        x: &Tensor,
        segments: Option<&Segments>,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let layer = &self.layers[index];
        if !self.checkpointing {
            return layer.forward(tape, x, segments, wanted);
        }
        let (layer, segments, wanted) = (layer.clone(), segments.cloned(), wanted.clone());
        tape.checkpoint(&[x], move |tape, x| {
            layer.forward(tape, &x[0], segments.as_ref(), &wanted)
        })
    }
}

/// A decoder's embeddings and layers.
pub trait DecoderLayers: Network {
    /// Its layers.
    type Layer: DecoderLayer;

    /// The word embeddings (V, C), which a language model's output layer may share.
    fn words(&self) -> &Param;

    /// Longest sequence.
    fn positions(&self) -> usize;

    /// Width of what a cache holds of a token's keys, and of its values, in each layer (KH·D).
    fn kept(&self) -> usize;

    /// Its layers.
    fn stack(&self) -> &Stack<Self::Layer>;

    /// The embeddings (B, T, C) of ids (B, T), a sequence in each row or as `segments` says.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn embed(&self, tape: &Tape, ids: &TokenIds, segments: Option<&Segments>) -> Result<Tensor>;

    /// The embeddings (B, T, C) of tokens that stand somewhere in their sequences.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn embed_at(&self, tape: &Tape, place: &Place) -> Result<Tensor>;

    /// What the last layer made, normalised.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn normalise(&self, tape: &Tape, x: &Tensor) -> Result<Tensor>;

    /// [`DecoderLayers::embed`] of sequences no longer than there are positions.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn embedded(&self, tape: &Tape, ids: &TokenIds, segments: Option<&Segments>) -> Result<Tensor> {
        let [_, steps] = ids.ids().dims2("decoder", "ids")?;
        let most = self.positions();
        if steps > most {
            return Err(Error::Shape {
                op: "decoder",
                arg: "ids",
                expected: format!("(B, T) with T <= {most}, as config.json says"),
                found: ids.ids().shape().to_string(),
            });
        }
        self.embed(tape, ids, segments)
    }

    /// The last layer's output, normalised (B, T, C), or only the wanted rows of it, for ids (B, T)
    /// padded on the right: no token sees what follows it, so padding changes nothing before it.
    ///
    /// # Errors
    /// [`Error::Shape`] for a row longer than there are positions.
    fn forward(&self, tape: &Tape, inputs: &Tokens<'_>, wanted: &Wanted) -> Result<Tensor> {
        let (stack, segments) = (self.stack(), inputs.segments);
        let first = self.embedded(tape, inputs.ids, segments)?;
        let [_, steps, width] = first.dims3("decoder", "embeddings")?;
        let first = ops::noise(tape, &first, inputs.noise / ((steps * width) as f32).sqrt())?;
        let last = (0..stack.count()).try_fold(first, |x, index| {
            let wanted = wanted.of_layer(index, stack.count());
            stack.layer(tape, index, &x, segments, wanted)
        })?;
        self.normalise(tape, &last)
    }

    /// As transformers' `hidden_states`: the embeddings and every layer's output, (B, T, C) each,
    /// the last normalised.
    ///
    /// # Errors
    /// As [`DecoderLayers::forward`].
    fn hidden_states(&self, tape: &Tape, ids: &TokenIds) -> Result<Vec<Tensor>> {
        let stack = self.stack();
        let mut states = vec![self.embedded(tape, ids, None)?];
        for index in 0..stack.count() {
            states.push(stack.layer(tape, index, &states[index], None, &Wanted::All)?);
        }
        if let Some(last) = states.last_mut() {
            *last = self.normalise(tape, last)?;
        }
        Ok(states)
    }

    /// [`DecoderLayers::forward`] of tokens that follow those in the cache; appends their keys and
    /// values.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn read(
        &self,
        tape: &Tape,
        place: &Place,
        cache: &KeyValueCache,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let stack = self.stack();
        let mut x = self.embed_at(tape, place)?;
        for (index, (layer, kept)) in stack.layers.iter().zip(cache.layers()).enumerate() {
            let wanted = wanted.of_layer(index, stack.count());
            x = layer.read(tape, &x, place, kept, wanted)?;
        }
        self.normalise(tape, &x)
    }
}
