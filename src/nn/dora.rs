//! What DoRA keeps beside a low-rank update: the lengths of the rows of the weight.

use std::sync::{Arc, Mutex};

use super::linear::LinearShape;
use super::vars::{Param, Vars};
use crate::device::lock;
use crate::error::{Error, Result};
use crate::ops::row_squares;
use crate::tensor::{Init, Tensor};

/// The name of the lengths that DoRA learns for the rows of a module's weight.
pub fn magnitude_of(module: &str) -> String {
    format!("{module}.lora_magnitude_vector")
}

/// The lengths that rows have with an update, learned, and squares of those that they have without, which
/// never change. (O) each.
#[derive(Clone)]
pub(super) struct Lengths {
    magnitude: Param,
    squares: Arc<Mutex<Option<Tensor>>>,
}

/// Declares those of `module`.
pub(super) fn declare(v: &Vars, module: &str, layer: &LinearShape) -> Result<Lengths> {
    Ok(Lengths {
        magnitude: v.param(magnitude_of(module), [layer.outputs], Init::Constant(0.0))?,
        squares: Arc::default(),
    })
}

impl Lengths {
    /// Measures the rows of `weight`; lengths that `begin` are those that the rows have.
    pub fn measure(
        &self,
        weight: &Tensor,
        layer: &LinearShape,
        begin: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let squares = row_squares(weight, layer.layout)?;
        if begin(self.magnitude.name()) {
            let lengths: Vec<f32> = squares.iter().map(|s| s.sqrt()).collect();
            self.magnitude.get()?.write(&lengths)?;
        }
        let squares = Tensor::from_slice(weight.gpu(), [squares.len()], &squares)?;
        *lock(&self.squares) = Some(squares);
        Ok(())
    }

    /// Lengths and squares.
    pub fn tensors(&self) -> Result<[Tensor; 2]> {
        let squares = lock(&self.squares).clone();
        let unknown = || {
            let message =
                "belongs to a weight that was not measured; call Vars::measure when it is loaded";
            Error::parameter(self.magnitude.name(), message)
        };
        Ok([self.magnitude.get()?, squares.ok_or_else(unknown)?])
    }
}
