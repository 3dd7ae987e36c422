//! What the loss is multiplied by, so that gradients in f16 neither vanish nor overflow.

use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The loss scale, on the device: a step whose gradients are not all finite is left out and halves
/// it; after `interval` good steps in a row it doubles. (Micikevicius et al. 2018, section 3.2, with
/// the numbers of `torch.amp.GradScaler`.) Always a power of two, so that scaling rounds nothing.
pub struct LossScale {
    /// (2) f32: the scale, good steps since it last changed.
    tensor: Tensor,
    interval: u32,
}

impl LossScale {
    /// Where training begins: `torch.amp.GradScaler`'s 2¹⁶.
    pub const INITIAL: f32 = 65_536.0;
    /// Good steps until it doubles.
    pub const INTERVAL: u32 = 2_000;

    /// A scale that starts at `initial` and doubles after `interval` good steps.
    ///
    /// # Errors
    /// [`Error::Argument`] unless `initial` is a power of two, 1 or more, and `interval` at least 1.
    pub fn dynamic(gpu: &Gpu, initial: f32, interval: u32) -> Result<LossScale> {
        let power = initial >= 1.0 && initial.is_finite() && initial.log2().fract() == 0.0;
        let refuse =
            |arg, value: String, expected| Err(Error::argument("loss_scale", arg, value, expected));
        if !power {
            return refuse("initial", initial.to_string(), "a power of two, 1 or more");
        }
        if interval == 0 {
            return refuse("interval", "0".into(), "at least 1");
        }
        LossScale::new(gpu, initial, interval)
    }

    /// 1, for ever: no scaling.
    pub(super) fn none(gpu: &Gpu) -> Result<LossScale> {
        LossScale::new(gpu, 1.0, 0)
    }

    fn new(gpu: &Gpu, initial: f32, interval: u32) -> Result<LossScale> {
        Ok(LossScale {
            tensor: Tensor::from_slice(gpu, [2], &[initial, 0.0])?,
            interval,
        })
    }

    /// (2) f32, on the device: the scale, and the good steps since it last changed. What a
    /// checkpoint must keep, and what [`Tape::mixed`](crate::tensor::Tape::mixed) reads.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Good steps until it doubles; 0 if it never changes.
    pub(super) fn interval(&self) -> u32 {
        self.interval
    }
}
