//! What a convolution is: its sizes, and what it can be made by.

use crate::ops::window::{Picture, Window};

/// One use of a convolution: its sizes, checked.
#[derive(Clone)]
pub(super) struct Conv {
    /// The source's pixels, over all pictures.
    pub pixels: usize,
    /// Positions of the window, over all pictures.
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub groups: usize,
    pub taps: usize,
    pub window: Window,
    /// Height and width of the source.
    pub size: [usize; 2],
    /// Which pixel each tap reads.
    pub picture: Picture,
    /// What it is to be made by, where that is asked for.
    pub form: Option<ConvForm>,
}

/// What a convolution is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvForm {
    /// Its own kernels, from operands as they lie; the only ones for groups.
    Direct,
    /// The product of register tiles.
    Tile,
    /// The product of images, where the operands can be such.
    Image,
}

/// Which way values go through the weights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the source to the result.
    Forward,
    /// From the gradient of the result to that of the source.
    Backward,
}

impl Conv {
    /// Channels of a group on the side that is read, and on the other.
    pub fn channels(&self, way: Way) -> [usize; 2] {
        let own = [self.inputs / self.groups, self.outputs / self.groups];
        match way {
            Way::Forward => own,
            Way::Backward => [own[1], own[0]],
        }
    }

    pub fn picture(&self, way: Way) -> Picture {
        match way {
            Way::Forward => self.picture,
            Way::Backward => self.picture.backward(self.outputs),
        }
    }
}
