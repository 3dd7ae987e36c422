//! What a kernel reads in place of a tensor.

use crate::device::{Binding, Image};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A tensor, or an image of one.
#[derive(Clone)]
pub(super) enum Operand {
    Tensor(Tensor),
    Image(Arc<Image>),
}

impl Operand {
    pub fn binding(&self) -> Binding<'_> {
        match self {
            Operand::Tensor(tensor) => tensor.binding(),
            Operand::Image(image) => image.binding(),
        }
    }
}
