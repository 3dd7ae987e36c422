//! Dropout; the mask is drawn again on the way back, never stored.

use super::lanes;
use crate::device::Groups;
use crate::error::{Error, Result};
use crate::kernels::{Variant, philox};
use crate::tensor::{DType, Tape, Tensor};

const OP: &str = "dropout";

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ForwardParams {
    n: u32,
    layer: u32,
    threshold: u32,
    row: u32,
    period: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    n: u32,
    layer: u32,
    threshold: u32,
    row: u32,
    period: u32,
    accumulate: u32,
    scale: f32,
}

/// Zeroes each element with probability `p` and scales the others by 1 / (1 − p); the identity
/// when not training or at p = 0. (Srivastava et al. 2014, inverted form.)
///
/// # Errors
/// [`Error::Argument`] unless 0 ≤ p < 1, [`Error::DType`] when `x` does not hold f32.
pub fn dropout(tape: &Tape, x: &Tensor, p: f32) -> Result<Tensor> {
    x.expect_dtype(OP, "x", DType::F32)?;
    if !(0.0..1.0).contains(&p) {
        return Err(Error::Argument {
            op: OP,
            arg: "p",
            value: p.to_string(),
            expected: "0 <= p < 1",
        });
    }
    let Some(state) = tape.step_state().filter(|_| p > 0.0) else {
        return Ok(x.clone());
    };
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, x.shape().clone(), DType::F32)?;
    let params = ForwardParams {
        n: x.len() as u32,
        layer: tape.next_layer(),
        threshold: philox::drop_threshold(p),
        row: 1,
        period: 1,
        scale: 1.0 / (1.0 - p),
    };
    let variant = Variant::new().with("VEC4", lanes(x.len()) == 4);
    let kernel = gpu.kernel("dropout_fwd", &variant)?;
    let bindings = [state.binding(), x.binding(), y.binding()];
    gpu.dispatch(&kernel, &params, &bindings, Groups::cover(x.len(), 1024))?;
    let (state, input, out) = (state.clone(), x.clone(), y.clone());
    tape.record(OP, &[x], &[&y], move |cx| {
        let (Some(dy), Some(dx)) = (cx.upstream(&out)?, cx.sink(&input)?) else {
            return Ok(());
        };
        let ForwardParams {
            n,
            layer,
            threshold,
            row,
            period,
            scale,
        } = params;
        let params = BackwardParams {
            n,
            layer,
            threshold,
            row,
            period,
            accumulate: dx.flag(),
            scale,
        };
        let kernel = cx.gpu().kernel("dropout_bwd", &variant)?;
        let bindings = [state.binding(), dy.binding(), dx.grad.binding()];
        cx.gpu()
            .dispatch(&kernel, &params, &bindings, Groups::cover(dy.len(), 1024))
    });
    Ok(y)
}
