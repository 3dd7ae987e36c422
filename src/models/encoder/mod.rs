//! What BERT and its kin have in common: embeddings and layers that see whole sequences, and the
//! heads on them. A family declares the parts under its own names.

mod heads;

use std::sync::Arc;

pub use heads::{
    EncoderClassifier, EncoderMaskedLm, EncoderTagger, PooledEncoder, Pooler, SequenceHead,
    WordHead,
};

use super::inputs::Tokens;
use super::network::{Encoder, Network};
use crate::error::{Error, Result};
use crate::nn::{LayerNorm, Param, PostNormBlock, Wanted, first_rows};
use crate::ops;
use crate::tensor::{Tape, Tensor};

/// Embeddings and post-norm layers.
pub struct TextEncoder {
    /// Width of a token's vector (C).
    pub width: usize,
    /// (V, C), which a masked LM's output layer shares.
    pub words: Param,
    /// (P, C)
    pub positions: Param,
    /// The row of `positions` that a sequence's first token takes.
    pub first_position: usize,
    /// Vectors of segments, where the model has any.
    pub segments: Option<Segments>,
    /// Of the sum of the embeddings.
    pub norm: LayerNorm,
    /// Dropout of the normalised sum.
    pub dropout: f32,
    /// From the bottom up.
    pub layers: Vec<Arc<PostNormBlock>>,
    /// Whether layers are computed again on the way back instead of kept.
    pub checkpointing: bool,
}

/// A table of vectors that are added to the tokens of a segment.
pub struct Segments {
    /// (S, C)
    pub table: Param,
    /// Whether the inputs say which row each token takes; otherwise all take the first.
    pub told: bool,
}

impl TextEncoder {
    /// Vectors of the first positions: (T, C).
    fn position_rows(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let [_, steps] = inputs.ids.ids().dims2("encoder", "ids")?;
        let (table, first) = (self.positions.get()?, self.first_position);
        let most = table.dims()[0].saturating_sub(first);
        if steps > most {
            return Err(Error::Shape {
                op: "encoder",
                arg: "ids",
                expected: format!("(B, T) with T <= {most}, as max_position_embeddings says"),
                found: inputs.ids.ids().shape().to_string(),
            });
        }
        if first == 0 {
            return first_rows(&table, steps);
        }
        // A view would have to begin on the adapter's alignment.
        let flat = table.reshaped([1, table.len()])?;
        let rows = ops::columns(tape, &flat, first * self.width, steps * self.width)?;
        rows.reshaped([steps, self.width])
    }

    /// The sum of the embeddings, normalised: (B, T, C).
    fn embed(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Tensor> {
        let words = self.words.get()?;
        let mut rows = self.position_rows(tape, inputs)?;
        let words = ops::embedding(tape, &words, inputs.ids)?;
        let mut of_each = None;
        if let Some(segments) = &self.segments {
            let table = segments.table.get()?;
            match inputs.types.filter(|_| segments.told) {
                Some(types) => of_each = Some(ops::embedding(tape, &table, types)?),
                None => rows = ops::add(tape, &rows, &first_rows(&table, 1)?)?,
            }
        }
        let sum = ops::add(tape, &words, &rows)?;
        let normed = self.norm.forward(tape, &sum, of_each.as_ref())?.y;
        ops::dropout(tape, &normed, self.dropout)
    }

    fn layer(
        &self,
        tape: &Tape,
        index: usize,
        x: &Tensor,
        lens: &Tensor,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let layer = &self.layers[index];
        if !self.checkpointing {
            return layer.forward(tape, x, lens, wanted);
        }
        let (layer, lens, wanted) = (layer.clone(), lens.clone(), wanted.clone());
        tape.checkpoint(&[x], move |tape, x| {
            layer.forward(tape, &x[0], &lens, &wanted)
        })
    }

    /// The last layer's output (B, T, C), or only the wanted rows of it.
    ///
    /// # Errors
    /// [`Error::Shape`] for a sequence longer than there are positions.
    pub fn forward(&self, tape: &Tape, inputs: &Tokens<'_>, wanted: &Wanted) -> Result<Tensor> {
        let embedded = self.embed(tape, inputs)?;
        (0..self.layers.len()).try_fold(embedded, |x, l| {
            let wanted = wanted.of_layer(l, self.layers.len());
            self.layer(tape, l, &x, inputs.lens, wanted)
        })
    }

    /// The embeddings and every layer's output, (B, T, C) each.
    ///
    /// # Errors
    /// As [`TextEncoder::forward`].
    pub fn hidden_states(&self, tape: &Tape, inputs: &Tokens<'_>) -> Result<Vec<Tensor>> {
        let mut states = vec![self.embed(tape, inputs)?];
        for index in 0..self.layers.len() {
            let state = self.layer(tape, index, &states[index], inputs.lens, &Wanted::All)?;
            states.push(state);
        }
        Ok(states)
    }
}

impl Encoder for TextEncoder {
    fn width(&self) -> usize {
        self.width
    }

    fn encode(&self, tape: &Tape, inputs: &Tokens<'_>, wanted: &Wanted) -> Result<Tensor> {
        self.forward(tape, inputs, wanted)
    }
}

impl Network for TextEncoder {
    fn set_checkpointing(&mut self, on: bool) {
        self.checkpointing = on;
    }

    fn as_encoder(&self) -> Option<&dyn Encoder> {
        Some(self)
    }
}
