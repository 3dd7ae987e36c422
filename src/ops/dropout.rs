//! Dropout; the mask is drawn again on the way back, never stored.

use super::lanes;
use crate::device::Groups;
use crate::error::{Error, Result};
use crate::kernels::{Variant, philox};
use crate::tensor::{Sink, Tape, Tensor};

const OP: &str = "dropout";

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ForwardParams {
    n: u32,
    layer: u32,
    threshold: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    n: u32,
    layer: u32,
    threshold: u32,
    accumulate: u32,
    scale: f32,
}

/// One mask: drawn forwards, drawn again backwards.
#[derive(Clone)]
pub(super) struct Draw {
    pub state: Tensor,
    pub layer: u32,
    pub threshold: u32,
    pub scale: f32,
}

impl Draw {
    /// The next mask of this tape; `None` when nothing is to be dropped.
    pub fn new(tape: &Tape, op: &'static str, p: f32) -> Result<Option<Draw>> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::Argument {
                op,
                arg: "p",
                value: p.to_string(),
                expected: "0 <= p < 1",
            });
        }
        Ok(tape.step_state().filter(|_| p > 0.0).map(|state| Draw {
            state: state.clone(),
            layer: tape.next_layer(),
            threshold: philox::drop_threshold(p),
            scale: 1.0 / (1.0 - p),
        }))
    }

    /// Queues y = drop(x).
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let gpu = x.gpu();
        let params = ForwardParams {
            n: x.len() as u32,
            layer: self.layer,
            threshold: self.threshold,
            scale: self.scale,
        };
        let kernel = gpu.kernel("dropout_fwd", &variant(x))?;
        let bindings = [self.state.binding(), x.binding(), y.binding()];
        gpu.dispatch(&kernel, &params, &bindings, Groups::cover(x.len(), 1024))
    }

    /// Queues dx (=|+=) drop'(dy), with the same mask.
    pub fn backward(&self, dy: &Tensor, dx: &Sink) -> Result<()> {
        let gpu = dy.gpu();
        let params = BackwardParams {
            n: dy.len() as u32,
            layer: self.layer,
            threshold: self.threshold,
            accumulate: dx.flag(),
            scale: self.scale,
        };
        let kernel = gpu.kernel("dropout_bwd", &variant(dy))?;
        let bindings = [self.state.binding(), dy.binding(), dx.grad.binding()];
        gpu.dispatch(&kernel, &params, &bindings, Groups::cover(dy.len(), 1024))
    }
}

fn variant(x: &Tensor) -> Variant {
    Variant::new()
        .with("F16", x.is_half())
        .with("VEC4", lanes(x.len()) == 4)
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
    let (input, out) = (x.without_values(), y.without_values());
    tape.record(OP, &[x], &[&y], move |cx| {
        match (cx.upstream(&out)?, cx.sink(&input)?) {
            (Some(dy), Some(dx)) => draw.backward(&dy, &dx),
            _ => Ok(()),
        }
    });
    Ok(y)
}
