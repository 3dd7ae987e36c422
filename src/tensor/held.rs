//! Numbers in whatever a tensor holds them in: f32, f16 or blocks.

use super::{DType, Tensor};
use crate::error::{Error, Result};

impl Tensor {
    /// As [`Tensor::write`], of f32 rounded to what this tensor holds.
    ///
    /// # Errors
    /// As [`Tensor::write`].
    pub fn write_rounded(&self, values: &[f32]) -> Result<()> {
        match self.dtype {
            DType::F16 => {
                let halves: Vec<half::f16> =
                    values.iter().map(|&v| half::f16::from_f32(v)).collect();
                self.write(&halves)
            }
            DType::Packed(kind) if values.len() == self.len() => {
                let none = || Error::DType {
                    op: "write",
                    arg: "values",
                    expected: "a type that numbers are packed in as well as read",
                    found: kind.name(),
                };
                self.write_blocks(&kind.quantise(values).ok_or_else(none)?)
            }
            _ => self.write(values),
        }
    }

    /// Overwrites all blocks of a packed tensor, as [`Tensor::write`] does values.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of bytes; [`Error::Device`] inside a recording.
    pub fn write_blocks(&self, blocks: &[u8]) -> Result<()> {
        if blocks.len() as u64 != self.dtype.bytes(self.len()) {
            return Err(Error::Shape {
                op: "write",
                arg: "blocks",
                expected: format!("{} of {}", self.shape, self.dtype.name()),
                found: format!("{} bytes", blocks.len()),
            });
        }
        let mut padded = blocks.to_vec();
        padded.resize(self.bytes() as usize, 0);
        self.gpu.write(&self.buffer, self.offset, &padded)
    }

    /// The values as f32, of a tensor of either float type; waits for the device.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    pub fn to_f32_vec(&self) -> Result<Vec<f32>> {
        match self.dtype {
            DType::F16 => {
                let halves = self.to_vec::<half::f16>()?;
                Ok(halves.into_iter().map(half::f16::to_f32).collect())
            }
            DType::Packed(kind) => {
                let words: Vec<u32> = self.read()?.wait()?;
                let bytes = bytemuck::cast_slice::<u32, u8>(&words);
                let mut values = kind.dequantise(&bytes[..self.dtype.bytes(self.len()) as usize]);
                values.truncate(self.len());
                Ok(values)
            }
            _ => self.to_vec(),
        }
    }

    /// Whether it holds blocks.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.dtype, DType::Packed(_))
    }

    /// Fails unless it holds floats, one by one or packed in rows of whole blocks.
    pub(crate) fn expect_weight(&self, op: &'static str, arg: &'static str) -> Result<()> {
        match self.dtype {
            DType::Packed(kind) if self.shape.last().is_multiple_of(kind.row_unit()) => Ok(()),
            DType::Packed(kind) => {
                let expected = format!("rows of a multiple of {}", kind.row_unit());
                Err(self.wrong_shape(op, arg, expected))
            }
            _ => self.expect_float(op, arg),
        }
    }
}
