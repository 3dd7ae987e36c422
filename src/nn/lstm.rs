//! A stack of LSTM layers, one or two directions each, with PyTorch's parameter names.

use crate::error::Result;
use crate::ops::{self, LstmOptions, LstmWeights};
use crate::tensor::{Init, ParamSpec, ParamStore, Tape, Tensor};

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

    fn suffixes(&self) -> impl Iterator<Item = (usize, bool, String)> + use<> {
        let both = self.bidirectional;
        (0..self.layers).flat_map(move |layer| {
            let forward = std::iter::once((layer, false, format!("l{layer}")));
            forward.chain(both.then(|| (layer, true, format!("l{layer}_reverse"))))
        })
    }
}

struct Direction {
    reverse: bool,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
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

impl LstmLayers {
    /// Its parameters, uniform in ±1/√H as PyTorch starts them.
    pub fn specs(prefix: &str, shape: &LstmShape) -> Vec<ParamSpec> {
        let init = Init::Uniform(1.0 / (shape.hidden as f32).sqrt());
        let gates = 4 * shape.hidden;
        shape
            .suffixes()
            .flat_map(|(layer, _, suffix)| {
                let inputs = if layer == 0 {
                    shape.inputs
                } else {
                    shape.outputs()
                };
                [
                    ParamSpec::new(
                        format!("{prefix}.weight_ih_{suffix}"),
                        [gates, inputs],
                        init,
                    ),
                    ParamSpec::new(
                        format!("{prefix}.weight_hh_{suffix}"),
                        [gates, shape.hidden],
                        init,
                    ),
                    ParamSpec::new(format!("{prefix}.bias_ih_{suffix}"), [gates], init),
                    ParamSpec::new(format!("{prefix}.bias_hh_{suffix}"), [gates], init),
                ]
            })
            .collect()
    }

    /// The stack whose parameters stand in `store` under `prefix`.
    ///
    /// # Errors
    /// [`crate::Error::Parameter`] when one is missing.
    pub fn new(store: &ParamStore, prefix: &str, shape: LstmShape) -> Result<LstmLayers> {
        let directions = shape
            .suffixes()
            .map(|(_, reverse, suffix)| {
                Ok(Direction {
                    reverse,
                    w_ih: store.get(&format!("{prefix}.weight_ih_{suffix}"))?,
                    w_hh: store.get(&format!("{prefix}.weight_hh_{suffix}"))?,
                    b_ih: store.get(&format!("{prefix}.bias_ih_{suffix}"))?,
                    b_hh: store.get(&format!("{prefix}.bias_hh_{suffix}"))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(LstmLayers { shape, directions })
    }

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
                    w_ih: &direction.w_ih,
                    w_hh: &direction.w_hh,
                    b_ih: &direction.b_ih,
                    b_hh: &direction.b_hh,
                };
                let options = LstmOptions {
                    reverse: direction.reverse,
                    cell_clip: self.shape.cell_clip,
                };
                let result = ops::lstm(
                    tape,
                    &x,
                    lens,
                    first.map(|(h, c)| (h, c)),
                    &weights,
                    options,
                )?;
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
