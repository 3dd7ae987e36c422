//! Noise that training adds.

use super::elementwise::axpy;
use super::kernel::{lanes, run, stored};
use crate::device::{Groups, params};
use crate::error::{Error, Result};
use crate::tensor::{Tape, Tensor};

const OP: &str = "add_noise";

/// x plus numbers that are drawn evenly from −scale to scale; x itself when not training or at 0. (Jain et
/// al. 2024, "NEFTune", with α / √(T·C) for embeddings (B, T, C).)
///
/// # Errors
/// [`Error::Argument`] unless the scale is finite and 0 or more, [`Error::DType`] when `x` does not hold
/// floats.
pub fn noise(tape: &Tape, x: &Tensor, scale: f32) -> Result<Tensor> {
    x.expect_float(OP, "x")?;
    if !(scale >= 0.0 && scale.is_finite()) {
        return Err(Error::argument(
            OP,
            "scale",
            scale,
            "a finite number, 0 or more",
        ));
    }
    let Some(state) = tape.step_state().filter(|_| scale > 0.0) else {
        return Ok(x.clone());
    };
    let y = Tensor::empty(tape.gpu(), x.shape().clone(), x.dtype())?;
    let params = params! { n: u32 = x.len(), layer: u32 = tape.next_layer(), scale: f32 };
    let kernel = ("add_noise", &stored(x, lanes(x.len())));
    let groups = Groups::cover(x.len(), 1024);
    run(x.gpu(), kernel, &params, [state, x, &y], groups)?;
    tape.record_map(OP, x, &y, |_, dy, dx| {
        axpy(&dx.grad, dy, 1.0, None, dx.accumulate)
    });
    Ok(y)
}
