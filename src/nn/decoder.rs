//! What today's decoders are made of: norms by the root mean square, rotary attention, gated
//! feed-forward parts.

use std::fmt::Display;
use std::sync::Arc;

use super::{CausalBlock, Linear, Param, Projections, Rope, Segments, Vars, Wanted};
use crate::error::Result;
use crate::ops::{self, AttentionOptions, Gate, Normed};
use crate::tensor::{Init, Tape, Tensor};

/// Normalisation by the root mean square.
pub struct RmsNorm {
    gamma: Param,
    offset: f32,
    eps: f32,
}

impl Vars {
    /// Declares a normalisation of `width` numbers that starts with factors of 1: `offset`, 0 or 1, and
    /// what is left of it in the parameter.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn rms_norm(
        &self,
        name: impl Display,
        width: usize,
        offset: f32,
        eps: f32,
    ) -> Result<RmsNorm> {
        let init = Init::Constant(1.0 - offset);
        Ok(RmsNorm {
            gamma: self.at(name).param("weight", [width], init)?,
            offset,
            eps,
        })
    }
}

impl RmsNorm {
    /// Normalises x + residual over the last axis: (…, C).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, x: &Tensor, residual: Option<&Tensor>) -> Result<Normed> {
        let gamma = self.gamma.get()?;
        ops::rms_norm(tape, x, residual, &gamma, self.offset, self.eps)
    }

    /// Normalises each head of x (B, T, NH·D).
    fn heads(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let width = self.gamma.get()?.len();
        let rows = x.reshaped([x.len() / width, width])?;
        self.forward(tape, &rows, None)?
            .y
            .reshaped(x.shape().clone())
    }
}

/// Causal self-attention that knows positions by turning queries and keys.
pub struct RotaryAttention {
    /// Its first layers.
    pub projections: Projections,
    /// Of each head of queries, and of keys, before they are turned.
    pub norms: Option<[RmsNorm; 2]>,
    /// The angles.
    pub rope: Arc<Rope>,
    /// Its last layer.
    pub output: Linear,
    /// Heads, window, dropout and scale.
    pub options: AttentionOptions,
}

impl RotaryAttention {
    /// KH
    pub fn kv_heads(&self) -> usize {
        self.options.kv_heads.unwrap_or(self.options.heads)
    }

    /// Queries (B, T, NH·D), keys and values (B, T, KH·D) of x (B, T, C), at their places in sequences
    /// of up to `longest` or at `positions` (B, T) u32.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn parts(
        &self,
        tape: &Tape,
        x: &Tensor,
        longest: usize,
        positions: Option<&Tensor>,
    ) -> Result<[Tensor; 3]> {
        let (heads, kv_heads) = (self.options.heads, self.kv_heads());
        let [mut q, mut k, v] = match &self.projections {
            Projections::Apart(layers) => {
                let [q, k, v] = layers.each_ref().map(|layer| layer.forward(tape, x));
                [q?, k?, v?]
            }
            Projections::Joint(layer) => {
                let all = layer.forward(tape, x)?;
                let width = all.shape().last() / (heads + 2 * kv_heads);
                let part = |first: usize, count: usize| {
                    ops::columns(tape, &all, first * width, count * width)
                };
                [
                    part(0, heads)?,
                    part(heads, kv_heads)?,
                    part(heads + kv_heads, kv_heads)?,
                ]
            }
        };
        if let Some([of_q, of_k]) = &self.norms {
            (q, k) = (of_q.heads(tape, &q)?, of_k.heads(tape, &k)?);
        }
        let table = self.rope.table(tape.gpu(), longest)?;
        let q = ops::rope(tape, &q, heads, &table, positions)?;
        let k = ops::rope(tape, &k, kv_heads, &table, positions)?;
        Ok([q, k, v])
    }

    /// x (B, T, C) → (B, T, C), or only the wanted rows of it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        segments: Option<&Segments>,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let [_, steps, _] = x.dims3("attention", "x")?;
        let positions = segments.map(|segments| segments.positions.ids());
        let [q, k, v] = self.parts(tape, x, steps, positions)?;
        let seen = segments.map(Segments::seen).unwrap_or_default();
        let context = ops::attention(tape, &q, &k, &v, seen, &self.options)?;
        self.output.forward(tape, &wanted.of(tape, &context)?)
    }
}

/// What makes the two inputs of a gate.
pub enum GateLayers {
    /// A layer for the gate and one for what it lets through.
    Apart(Box<[Linear; 2]>),
    /// One layer for both, in this order.
    Joint(Box<Linear>),
}

/// Two linear layers whose product, gated, goes through a third. (Shazeer 2020.)
pub struct GatedFeedForward {
    /// The first two.
    pub layers: GateLayers,
    /// Of the gate.
    pub f: Gate,
    /// The last.
    pub down: Linear,
}

impl GatedFeedForward {
    /// x (…, C) → (…, C).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = match &self.layers {
            GateLayers::Apart(layers) => {
                let [gate, up] = layers.each_ref().map(|layer| layer.forward(tape, x));
                [gate?, up?]
            }
            GateLayers::Joint(layer) => {
                let both = layer.forward(tape, x)?;
                let width = both.shape().last() / 2;
                let part = |first| ops::columns(tape, &both, first, width);
                [part(0)?, part(width)?]
            }
        };
        let hidden = ops::gated(tape, &gate, &up, self.f)?;
        self.down.forward(tape, &hidden)
    }
}

/// A layer of which each half reads its input normalised and is added to it as it was; Gemma's
/// normalise what they add as well.
pub struct DecoderBlock {
    /// Before the first half.
    pub attention_norm: RmsNorm,
    /// First half.
    pub attention: RotaryAttention,
    /// Of what the first half adds.
    pub attention_sum_norm: Option<RmsNorm>,
    /// Before the second half.
    pub feed_forward_norm: RmsNorm,
    /// Second half.
    pub feed_forward: GatedFeedForward,
    /// Of what the second half adds.
    pub feed_forward_sum_norm: Option<RmsNorm>,
}

impl CausalBlock for DecoderBlock {
    fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        segments: Option<&Segments>,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let normed = self.attention_norm.forward(tape, x, None)?.y;
        let a = self.attention.forward(tape, &normed, segments, wanted)?;
        self.finish(tape, &wanted.of(tape, x)?, &a)
    }
}

impl DecoderBlock {
    /// What follows the attention's result `a`, for input `x`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn finish(&self, tape: &Tape, x: &Tensor, a: &Tensor) -> Result<Tensor> {
        let normed = |norm: &Option<RmsNorm>, x: &Tensor| match norm {
            Some(norm) => norm.forward(tape, x, None).map(|normed| normed.y),
            None => Ok(x.clone()),
        };
        let a = normed(&self.attention_sum_norm, a)?;
        let both = self.feed_forward_norm.forward(tape, &a, Some(x))?;
        let f = self.feed_forward.forward(tape, &both.y)?;
        ops::add(tape, &both.sum, &normed(&self.feed_forward_sum_norm, &f)?)
    }
}
