//! Dropout; the mask is drawn again on the way back, never stored.

use super::kernel::{lanes, run, stored};
use crate::device::{Groups, params};
use crate::error::{Error, Result};
use crate::kernels::philox;
use crate::tensor::{Tape, Tensor};

const OP: &str = "dropout";

/// Which mask is drawn; of no meaning without one.
#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Mask {
    pub layer: u32,
    pub threshold: u32,
    pub scale: f32,
}

/// One mask: drawn forwards, drawn again backwards.
#[derive(Clone)]
pub(crate) struct Draw {
    pub state: Tensor,
    pub mask: Mask,
}

impl Draw {
    /// The next mask of this tape; `None` when nothing is to be dropped.
    pub fn new(tape: &Tape, op: &'static str, p: f32) -> Result<Option<Draw>> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::argument(op, "p", p, "0 <= p < 1"));
        }
        Ok(tape.step_state().filter(|_| p > 0.0).map(|state| Draw {
            state: state.clone(),
            mask: Mask {
                layer: tape.next_layer(),
                threshold: philox::drop_threshold(p),
                scale: 1.0 / (1.0 - p),
            },
        }))
    }

    /// Queues y = drop(x).
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let params = params! { n: u32 = x.len(), mask: Mask = self.mask };
        let kernel = ("dropout_fwd", &stored(x, lanes(x.len())));
        let groups = Groups::cover(x.len(), 1024);
        run(x.gpu(), kernel, &params, [&self.state, x, y], groups)
    }

    /// Queues dx (=|+=) drop'(dy), with the same mask.
    pub fn backward(&self, dy: &Tensor, dx: &Tensor, accumulate: bool) -> Result<()> {
        let Mask {
            layer,
            threshold,
            scale,
        } = self.mask;
        let params = params! {
            n: u32 = dy.len(),
            layer: u32,
            threshold: u32,
            accumulate: u32,
            scale: f32,
        };
        let kernel = ("dropout_bwd", &stored(dy, lanes(dy.len())));
        let groups = Groups::cover(dy.len(), 1024);
        let tensors = [&self.state, dy, dx];
        run(dy.gpu(), kernel, &params, tensors, groups)
    }
}

/// Zeroes each element with probability `p` and scales the others by 1 / (1 − p); the identity
/// when not training or at p = 0. (Srivastava et al. 2014, inverted form.)
///
/// # Errors
/// [`Error::Argument`] unless 0 ≤ p < 1, [`Error::DType`] when `x` does not hold floats.
pub fn dropout(tape: &Tape, x: &Tensor, p: f32) -> Result<Tensor> {
    x.expect_float(OP, "x")?;
    let Some(draw) = Draw::new(tape, OP, p)? else {
        return Ok(x.clone());
    };
    let y = Tensor::empty(tape.gpu(), x.shape().clone(), x.dtype())?;
    draw.forward(x, &y)?;
    tape.record_map(OP, x, &y, move |_, dy, dx| {
        draw.backward(dy, &dx.grad, dx.accumulate)
    });
    Ok(y)
}
