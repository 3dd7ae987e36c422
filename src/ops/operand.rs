//! What a kernel reads in place of a tensor.

use crate::device::{Bound, Image, Lines};
use crate::tensor::Tensor;
use std::sync::Arc;

/// A tensor, or an image of one.
#[derive(Clone)]
pub(super) enum Operand {
    Tensor(Tensor),
    Image(Arc<Image>),
}

impl Operand {
    pub fn binding(&self) -> Bound<'_> {
        match self {
            Operand::Tensor(tensor) => tensor.binding(),
            Operand::Image(image) => image.binding(),
        }
    }
}

/// Rows of a tensor as lines of an image, cut into panels or not.
pub(super) fn lines(rows: &Tensor, panels: bool) -> Lines {
    let texels = (rows.shape().last() / 4) as u32;
    Lines {
        batch: 1,
        count: rows.shape().rows() as u32,
        texels,
        stride: texels,
        fold: 1,
        panels,
        half: rows.is_half(),
    }
}

/// Whether the rows of a tensor are whole copies, and few enough, to be lines of an image.
pub(super) fn can_be_image(rows: &Tensor) -> bool {
    let most = rows.gpu().caps().image_limits();
    rows.shape().last().is_multiple_of(4) && lines(rows, false).fit(most)
}
