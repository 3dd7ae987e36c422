//! What a model declares of a parameter: its name, its shape in files and in memory, where it stands.

use std::borrow::Cow;

use super::Shape;
use super::init::Init;

/// Where a parameter stands in its model, from the bottom up: what layer-wise learning rates and
/// gradual unfreezing go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Depth {
    /// What turns the input into vectors.
    Embeddings,
    /// A layer, from 0.
    Layer(usize),
    /// What stands on the last layer and belongs to the pretrained model: a pooler, a last norm.
    Top,
    /// What an objective adds.
    #[default]
    Head,
}

/// A parameter or buffer that a model has.
#[derive(Debug, Clone)]
pub struct ParamSpec {
    /// Full name, as it stands in files.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// How it starts.
    pub init: Init,
    /// Whether it is a buffer: saved with the model, and no parameter that could be trained.
    pub buffer: bool,
    /// Where it stands.
    pub depth: Depth,
    /// Whether its second axis, the channels that a convolution reads, is the last one in memory; `shape`
    /// and files have it as PyTorch does.
    pub channels_last: bool,
}

impl ParamSpec {
    /// A parameter `name` of the given shape.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> ParamSpec {
        ParamSpec {
            name: name.into(),
            shape: shape.into(),
            init,
            buffer: false,
            depth: Depth::default(),
            channels_last: false,
        }
    }

    /// A buffer `name` of the given shape.
    pub fn buffer(name: impl Into<String>, shape: impl Into<Shape>, init: Init) -> ParamSpec {
        ParamSpec {
            buffer: true,
            ..ParamSpec::new(name, shape, init)
        }
    }

    /// Its shape in memory.
    pub fn held_shape(&self) -> Shape {
        match self.shape.0[..] {
            [outputs, inputs, ref taps @ ..] if self.channels_last => {
                Shape([&[outputs], taps, &[inputs]].concat())
            }
            _ => self.shape.clone(),
        }
    }

    /// Its values as they lie in memory, of those in the order of `shape`.
    pub fn to_held<'a>(&self, values: impl Into<Cow<'a, [f32]>>) -> Cow<'a, [f32]> {
        let [columns, taps] = self.turned();
        turn(values.into(), columns, taps)
    }

    /// Its values in the order of `shape`, of those in memory.
    pub fn from_held(&self, values: Vec<f32>) -> Vec<f32> {
        let [columns, taps] = self.turned();
        turn(values.into(), taps, columns).into_owned()
    }

    /// Rows and columns of the matrices that change places in memory.
    fn turned(&self) -> [usize; 2] {
        match self.shape.0[..] {
            [_, inputs, ref taps @ ..] if self.channels_last => [inputs, taps.iter().product()],
            _ => [1; 2],
        }
    }

    /// The same, starting with zeros: for one whose values are loaded.
    #[must_use]
    pub fn zeroed(self) -> ParamSpec {
        ParamSpec {
            init: Init::Constant(0.0),
            ..self
        }
    }
}

/// Matrices of so many rows and columns, one after another, each transposed.
fn turn(values: Cow<'_, [f32]>, rows: usize, columns: usize) -> Cow<'_, [f32]> {
    if rows == 1 || columns == 1 {
        return values;
    }
    let mut turned = Vec::with_capacity(values.len());
    for matrix in values.chunks(rows * columns) {
        for column in 0..columns {
            turned.extend((0..rows).map(|row| matrix[row * columns + column]));
        }
    }
    turned.into()
}
