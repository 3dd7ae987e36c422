//! What transformers are made of: layer norms, attention, feed-forward, and the two ways to put
//! them together.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{Linear, Param, Vars};
use crate::error::Result;
use crate::ops::{self, AttentionOptions, Normed, RowSelection, Seen, TokenIds, Unary};
use crate::tensor::{Init, Tape, Tensor};

/// The feed-forward layers' function, by its name in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// GELU with the error function.
    #[default]
    Gelu,
    /// GELU in its tanh form.
    GeluNew,
    /// The same in PyTorch's own implementation.
    GeluPytorchTanh,
    /// max(x, 0)
    Relu,
}

impl HiddenAct {
    /// Its value for every element.
    ///
    /// # Errors
    /// [`crate::Error::DType`] when `x` does not hold f32.
    pub fn forward(self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let f = match self {
            HiddenAct::Gelu => Unary::Gelu,
            HiddenAct::GeluNew | HiddenAct::GeluPytorchTanh => Unary::GeluTanh,
            HiddenAct::Relu => Unary::Relu,
        };
        ops::unary(tape, x, f)
    }
}

/// Layer normalisation with its own weights.
pub struct LayerNorm {
    gamma: Param,
    beta: Param,
    eps: f32,
}

impl Vars {
    /// Declares a layer normalisation of `width` numbers: ones and zeros.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn layer_norm(&self, name: impl Display, width: usize, eps: f32) -> Result<LayerNorm> {
        let v = self.at(name);
        Ok(LayerNorm {
            gamma: v.param("weight", [width], Init::Constant(1.0))?,
            beta: v.param("bias", [width], Init::Constant(0.0))?,
            eps,
        })
    }
}

impl LayerNorm {
    /// Normalises x + residual over the last axis: (…, C).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, x: &Tensor, residual: Option<&Tensor>) -> Result<Normed> {
        let (gamma, beta) = (self.gamma.get()?, self.beta.get()?);
        ops::layer_norm(tape, x, residual, &gamma, &beta, self.eps)
    }

    /// The same of drop(x) + residual, for dropout with probability `p`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`]; [`crate::Error::Argument`] unless 0 ≤ p < 1.
    pub fn forward_dropped(
        &self,
        tape: &Tape,
        x: &Tensor,
        p: f32,
        residual: &Tensor,
    ) -> Result<Normed> {
        let (gamma, beta) = (self.gamma.get()?, self.beta.get()?);
        ops::dropout_layer_norm(tape, x, p, residual, &gamma, &beta, self.eps)
    }
}

/// Two linear layers with a function between.
pub struct FeedForward {
    /// First.
    pub up: Linear,
    /// Between them.
    pub act: HiddenAct,
    /// Second.
    pub down: Linear,
}

impl FeedForward {
    /// x (…, C) → (…, C).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        let hidden = self.act.forward(tape, &self.up.forward(tape, x)?)?;
        self.down.forward(tape, &hidden)
    }
}

/// Several sequences in each row of a batch: none sees another, and each has positions of its own.
#[derive(Clone)]
pub struct Segments {
    /// (B, T) each token's place in its sequence.
    pub positions: TokenIds,
    /// (B·T) u32, where in the row each token's sequence begins.
    pub starts: Tensor,
}

impl Segments {
    /// What of its row a token's sequence is.
    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            lens: None,
            starts: Some(&self.starts),
        }
    }
}

/// The tokens of a batch whose states are asked for. Keys and values come from all of them; what
/// follows the attention in a model's last layer is made for these alone.
#[derive(Clone)]
pub enum Wanted {
    /// All of them.
    All,
    /// The first of each sequence.
    First,
    /// M positions in the flattened batch.
    Rows(RowSelection),
    /// Both, the first ones before the others.
    FirstAnd(RowSelection),
}

impl Wanted {
    /// What layer `index` of `layers` makes: all but the last are read at every position.
    pub fn of_layer(&self, index: usize, layers: usize) -> &Wanted {
        if index + 1 == layers {
            self
        } else {
            &Wanted::All
        }
    }

    /// Their rows of x (B, T, C): the same, (B, C), (M, C) or (B + M, C).
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn of(&self, tape: &Tape, x: &Tensor) -> Result<Tensor> {
        match self {
            Wanted::All => Ok(x.clone()),
            Wanted::First => ops::column(tape, x, 0),
            Wanted::Rows(rows) => ops::select_rows(tape, x, rows),
            Wanted::FirstAnd(rows) => {
                let parts = [ops::column(tape, x, 0)?, ops::select_rows(tape, x, rows)?];
                // End to end, each is a single row.
                let flat = parts.iter().map(|part| part.reshaped([1, part.len()]));
                let flat: Vec<Tensor> = flat.collect::<Result<_>>()?;
                let joined = ops::concat(tape, &flat)?;
                let width = x.shape().last();
                joined.reshaped([joined.len() / width, width])
            }
        }
    }
}

/// What makes queries, keys and values.
pub enum Projections {
    /// A layer for each, in this order.
    Apart(Box<[Linear; 3]>),
    /// One layer for all three, in this order.
    Joint(Box<Linear>),
}

/// Multi-head self-attention with its output layer.
pub struct SelfAttention {
    /// Its first layers.
    pub projections: Projections,
    /// Its last layer.
    pub output: Linear,
    /// Heads, mask, dropout and scale.
    pub options: AttentionOptions,
}

impl SelfAttention {
    /// x (B, T, C) → (B, T, C), or only the wanted rows of it; `seen` says which keys count.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward<'a>(
        &self,
        tape: &Tape,
        x: &Tensor,
        seen: impl Into<Seen<'a>>,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let seen = seen.into();
        let context = match (&self.projections, wanted) {
            // One query a sequence: which it is matters to a causal mask alone.
            (Projections::Apart(layers), Wanted::First) if !self.options.causal => {
                let [q, k, v] = &**layers;
                let first = wanted.of(tape, x)?;
                let [batch, width] = first.dims2("attention", "x")?;
                let q = q.forward(tape, &first)?.reshaped([batch, 1, width])?;
                let (k, v) = (k.forward(tape, x)?, v.forward(tape, x)?);
                let context = ops::attention(tape, &q, &k, &v, seen, &self.options)?;
                context.reshaped([batch, width])?
            }
            (Projections::Apart(layers), _) => {
                let [q, k, v] = layers.each_ref().map(|layer| layer.forward(tape, x));
                let context = ops::attention(tape, &q?, &k?, &v?, seen, &self.options)?;
                wanted.of(tape, &context)?
            }
            (Projections::Joint(qkv), _) => {
                let qkv = qkv.forward(tape, x)?;
                let context = ops::attention_packed(tape, &qkv, seen, &self.options)?;
                wanted.of(tape, &context)?
            }
        };
        self.output.forward(tape, &context)
    }
}

/// A layer whose halves are each added to its input, then the sum is normalised (Vaswani et al.
/// 2017, post-LN).
pub struct PostNormBlock {
    /// First half.
    pub attention: SelfAttention,
    /// After the first half.
    pub attention_norm: LayerNorm,
    /// Second half.
    pub feed_forward: FeedForward,
    /// After the second half.
    pub output_norm: LayerNorm,
    /// Dropout of each half's result.
    pub dropouts: [f32; 2],
}

impl PostNormBlock {
    /// x (B, T, C), lens (B) u32 → (B, T, C), or only the wanted rows of it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        lens: &Tensor,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let a = self.attention.forward(tape, x, Some(lens), wanted)?;
        let x = wanted.of(tape, x)?;
        let [first, second] = self.dropouts;
        let norm = &self.attention_norm;
        let h = norm.forward_dropped(tape, &a, first, &x)?.y;
        let f = self.feed_forward.forward(tape, &h)?;
        let norm = &self.output_norm;
        Ok(norm.forward_dropped(tape, &f, second, &h)?.y)
    }
}

/// A layer of which no token sees what follows it.
pub trait CausalBlock {
    /// x (B, T, C) → (B, T, C), or only the wanted rows of it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        segments: Option<&Segments>,
        wanted: &Wanted,
    ) -> Result<Tensor>;
}

/// A layer of which each half reads its input normalised and is added to it as it was (Radford et
/// al. 2019, pre-LN).
pub struct PreNormBlock {
    /// Before the first half.
    pub attention_norm: LayerNorm,
    /// First half.
    pub attention: SelfAttention,
    /// Before the second half.
    pub feed_forward_norm: LayerNorm,
    /// Second half.
    pub feed_forward: FeedForward,
    /// Dropout of each half's result.
    pub dropout: f32,
}

impl CausalBlock for PreNormBlock {
    fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        segments: Option<&Segments>,
        wanted: &Wanted,
    ) -> Result<Tensor> {
        let normed = self.attention_norm.forward(tape, x, None)?.y;
        let seen = segments.map(Segments::seen).unwrap_or_default();
        let a = self.attention.forward(tape, &normed, seen, wanted)?;
        self.finish(tape, &wanted.of(tape, x)?, &a)
    }
}

impl PreNormBlock {
    /// What follows the attention's result `a`, for input `x`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn finish(&self, tape: &Tape, x: &Tensor, a: &Tensor) -> Result<Tensor> {
        let norm = &self.feed_forward_norm;
        let normed = norm.forward_dropped(tape, a, self.dropout, x)?;
        let f = self.feed_forward.forward(tape, &normed.y)?;
        let f = ops::dropout(tape, &f, self.dropout)?;
        ops::add(tape, &normed.sum, &f)
    }
}

/// The first `rows` rows of a table (P, C), as a view: its gradient is that of the table.
///
/// # Errors
/// [`crate::Error::Shape`] when it has fewer.
pub fn first_rows(table: &Tensor, rows: usize) -> Result<Tensor> {
    let shape = [rows, table.shape().last()];
    let view = table.window(0, shape)?;
    Ok(match table.grad() {
        Some(grad) => view.with_grad(grad.window(0, shape)?),
        None => view,
    })
}
