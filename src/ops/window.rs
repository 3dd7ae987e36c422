//! Windows that slide over pictures: what convolutions and pools have in common.
//!
//! Pictures are (N, H, W, C): their pixels are the rows of a matrix, the channels its columns.

use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A window and how it slides; of each pair the first number is down, the second across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its height and width, in taps.
    pub kernel: [usize; 2],
    /// Pixels from one position to the next.
    pub stride: [usize; 2],
    /// Pixels beyond each edge that windows reach.
    pub padding: [usize; 2],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
}

impl Window {
    /// One of equal sides that stands on every pixel.
    pub fn square(side: usize) -> Window {
        Window {
            kernel: [side; 2],
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
        }
    }

    /// The same with so many pixels from one position to the next.
    #[must_use]
    pub fn stride(self, stride: usize) -> Window {
        Window {
            stride: [stride; 2],
            ..self
        }
    }

    /// The same reaching so many pixels beyond each edge.
    #[must_use]
    pub fn padding(self, padding: usize) -> Window {
        Window {
            padding: [padding; 2],
            ..self
        }
    }

    /// Its taps.
    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Whether it is a pixel by itself.
    pub(super) fn is_pixel(&self) -> bool {
        *self
            == Window {
                dilation: self.dilation,
                ..Window::square(1)
            }
    }

    /// Its positions down and across pictures of `size`.
    pub(super) fn positions(&self, op: &'static str, size: [usize; 2]) -> Result<[usize; 2]> {
        let sides = [
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ];
        for (arg, side) in sides {
            if side.contains(&0) {
                let found = format!("{} by {}", side[0], side[1]);
                return Err(Error::argument(op, arg, found, "at least 1 by 1"));
            }
        }
        let mut positions = [0; 2];
        for axis in 0..2 {
            let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
            let room = size[axis] + 2 * self.padding[axis];
            if room < reach {
                return Err(Error::Shape {
                    op,
                    arg: "x",
                    expected: format!(
                        "pictures of {reach} pixels or more a side for this window, {} of them padding",
                        2 * self.padding[axis]
                    ),
                    found: format!("{} by {} pixels", size[0], size[1]),
                });
            }
            positions[axis] = (room - reach) / self.stride[axis] + 1;
        }
        Ok(positions)
    }
}

/// `Picture` of the kernels: which pixel of a source each tap reads at each position of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Picture {
    source: [u32; 2],
    result: [u32; 2],
    kernel_w: u32,
    taps: u32,
    mul: [i32; 2],
    off: [i32; 2],
    step: [i32; 2],
    div: [i32; 2],
    channels: u32,
    first: u32,
}

/// Pixels that the same taps of a window reach.
pub(super) struct Class {
    /// Which positions read each of them.
    pub picture: Picture,
    /// The first tap, down and across; the others follow by the stride.
    pub first: [usize; 2],
    /// How many taps.
    pub taps: [usize; 2],
    /// How many pixels of each picture.
    pub size: [usize; 2],
}

impl Picture {
    /// Of a window over pictures of `size` with so many channels, at its `positions`.
    pub fn forward(w: &Window, size: [usize; 2], positions: [usize; 2], channels: usize) -> Self {
        let signed = |pair: [usize; 2]| pair.map(|v| v as i32);
        Picture {
            source: size.map(|v| v as u32),
            result: positions.map(|v| v as u32),
            kernel_w: w.kernel[1] as u32,
            taps: w.taps() as u32,
            mul: signed(w.stride),
            off: signed(w.padding).map(|p| -p),
            step: signed(w.dilation),
            div: [1; 2],
            channels: channels as u32,
            first: 0,
        }
    }

    /// The way back: which positions read a pixel, tap by tap; their rows have so many channels.
    pub fn backward(self, channels: usize) -> Self {
        Picture {
            source: self.result,
            result: self.source,
            mul: [1; 2],
            off: self.off.map(|p| -p),
            step: self.step.map(|d| -d),
            div: self.mul,
            channels: channels as u32,
            ..self
        }
    }

    /// The way back of every `stride`-th pixel, those that lie `class` from the first: windows there share taps,
    /// so that none is read in vain. `None` where no window reaches them. Of windows without dilation.
    pub fn class(self, w: &Window, class: [usize; 2], channels: usize) -> Option<Class> {
        let (mut first, mut taps, mut off) = ([0; 2], [0; 2], [0; 2]);
        for axis in 0..2 {
            let (stride, reach) = (w.stride[axis], class[axis] + w.padding[axis]);
            first[axis] = reach % stride;
            taps[axis] = w.kernel[axis].saturating_sub(first[axis]).div_ceil(stride);
            off[axis] = (reach / stride) as i32;
        }
        let size = |axis: usize| {
            let left = (self.source[axis] as usize).saturating_sub(class[axis]);
            left.div_ceil(w.stride[axis])
        };
        let size = [size(0), size(1)];
        let picture = Picture {
            source: self.result,
            result: size.map(|v| v as u32),
            kernel_w: taps[1] as u32,
            taps: (taps[0] * taps[1]) as u32,
            mul: [1; 2],
            off,
            step: [-1; 2],
            div: [1; 2],
            channels: channels as u32,
            first: 0,
        };
        let none = [taps, size].iter().flatten().any(|&n| n == 0);
        (!none).then_some(Class {
            picture,
            first,
            taps,
            size,
        })
    }

    /// The same with other channels of a pixel of the source.
    pub fn with_channels(self, channels: usize) -> Self {
        Picture {
            channels: channels as u32,
            ..self
        }
    }

    /// The same from that position on.
    pub fn from(self, first: usize) -> Self {
        Picture {
            first: first as u32,
            ..self
        }
    }

    /// For the kernels.
    pub fn tensor(&self, gpu: &Gpu) -> Result<Tensor> {
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(self));
        Tensor::constant(gpu, [words.len()], words)
    }
}

/// (N, H, W, C) of pictures, floats.
pub(super) fn pictures(op: &'static str, x: &Tensor) -> Result<[usize; 4]> {
    x.expect_float(op, "x")?;
    let dims = x.dims().try_into();
    dims.map_err(|_| x.wrong_shape(op, "x", "(N, H, W, C)"))
}
