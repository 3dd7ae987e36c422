//! A stack of LSTM layers, one or two directions each, with PyTorch's parameter names.

use std::fmt::Display;

use super::vars::{Param, Vars};
use crate::error::Result;
use crate::ops::{self, LstmOptions, LstmWeights};
use crate::tensor::{Depth, Init, Tape, Tensor};

/// Sizes of a stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LstmShape {
    /// Width of the input (I).
    pub inputs: usize,
    /// Units of each direction (H).
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Whether each layer also reads the sequence backwards.
    pub bidirectional: bool,
    /// The cell is clamped to ± this after each update; 0 leaves it free.
    pub cell_clip: f32,
    /// Dropout between layers.
    pub dropout: f32,
}

impl LstmShape {
    /// Directions of a layer (D): 1 or 2.
    pub fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Width of the output (D·H).
    pub fn outputs(&self) -> usize {
        self.directions() * self.hidden
    }
}

struct Direction {
    reverse: bool,
    w_ih: Param,
    w_hh: Param,
    b_ih: Param,
    b_hh: Param,
}

/// The stack.
pub struct LstmLayers {
    shape: LstmShape,
    /// Layer by layer, forward before backward.
    directions: Vec<Direction>,
}

/// What a stack returns.
pub struct LstmLayersOutput {
    /// Hidden states of the last layer (T, B, D·H). Past a row's length, its last state.
    pub out: Tensor,
    /// Final hidden state and cell of every layer and direction, (B, H) each.
    pub finals: Vec<(Tensor, Tensor)>,
}

impl Vars {
    /// Declares a stack, its parameters uniform in ±1/√H as PyTorch starts them.
    ///
    /// # Errors
    /// As [`Vars::param`].
    pub fn lstm(&self, name: impl Display, shape: LstmShape) -> Result<LstmLayers> {
        let v = self.at(name);
        let init = Init::Uniform(1.0 / (shape.hidden as f32).sqrt());
        let gates = 4 * shape.hidden;
        let mut directions = Vec::new();
        for layer in 0..shape.layers {
            let v = v.depth(Depth::Layer(layer));
            let inputs = if layer == 0 {
                shape.inputs
            } else {
                shape.outputs()
            };
            for reverse in [false, true].into_iter().take(shape.directions()) {
                let end = if reverse { "_reverse" } else { "" };
                let name = |part: &str| format!("{part}_l{layer}{end}");
                directions.push(Direction {
                    reverse,
                    w_ih: v.param(name("weight_ih"), [gates, inputs], init)?,
                    w_hh: v.param(name("weight_hh"), [gates, shape.hidden], init)?,
                    b_ih: v.param(name("bias_ih"), [gates], init)?,
                    b_hh: v.param(name("bias_hh"), [gates], init)?,
                });
            }
        }
        Ok(LstmLayers { shape, directions })
    }
}

impl LstmLayers {
    /// x (T, B, I), lens (B) u32, and for each layer and direction a first state (h, c) of
    /// (B, H), or zeros.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(
        &self,
        tape: &Tape,
        x: &Tensor,
        lens: &Tensor,
        state: Option<&[(Tensor, Tensor)]>,
    ) -> Result<LstmLayersOutput> {
        let per_layer = self.shape.directions();
        let mut x = x.clone();
        let mut finals = Vec::with_capacity(self.directions.len());
        for (layer, directions) in self.directions.chunks(per_layer).enumerate() {
            if layer > 0 {
                x = ops::dropout(tape, &x, self.shape.dropout)?;
            }
            let mut outputs = Vec::with_capacity(per_layer);
            for (index, direction) in directions.iter().enumerate() {
                let first = state.and_then(|s| s.get(layer * per_layer + index));
                let weights = LstmWeights {
                    w_ih: &direction.w_ih.get()?,
                    w_hh: &direction.w_hh.get()?,
                    b_ih: &direction.b_ih.get()?,
                    b_hh: &direction.b_hh.get()?,
                };
                let options = LstmOptions {
                    reverse: direction.reverse,
                    cell_clip: self.shape.cell_clip,
                };
                let first = first.map(|(h, c)| (h, c));
                let result = ops::lstm(tape, &x, lens, first, &weights, options)?;
                outputs.push(result.out);
                finals.push((result.h_n, result.c_n));
            }
            x = match &outputs[..] {
                [one] => one.clone(),
                many => ops::concat(tape, many)?,
            };
        }
        Ok(LstmLayersOutput { out: x, finals })
    }
}
