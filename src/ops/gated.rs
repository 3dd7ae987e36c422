//! What a gated feed-forward part computes between its layers.

use super::kernel::{lanes, run, stored};
use crate::device::{Groups, params};
use crate::error::Result;
use crate::tensor::{Sink, Tape, Tensor};

const OP: &str = "gated";
const GROUP: usize = 256;

/// The function of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// x σ(x): SwiGLU
    Silu,
    /// GELU in its tanh form: GEGLU
    GeluTanh,
    /// GELU in its erf form: GEGLU
    Gelu,
}

/// f(gate) · up, element by element, of one shape, both f32 or both f16. (Shazeer 2020, eq. 6.)
///
/// # Errors
/// [`crate::Error::Shape`], [`crate::Error::DType`].
pub fn gated(tape: &Tape, gate: &Tensor, up: &Tensor, f: Gate) -> Result<Tensor> {
    gate.expect_float(OP, "gate")?;
    up.expect(OP, "up", gate.dims(), gate.dtype())?;
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, gate.shape().clone(), gate.dtype())?;
    let lanes = lanes(y.len());
    let variant = stored(gate, lanes).with("OP", f as u32);
    let elements = y.len() / lanes;
    let groups = Groups::cover(elements, GROUP);
    let params = params! { n: u32 = elements };
    run(
        gpu,
        ("gated_fwd", &variant),
        &params,
        [gate, up, &y],
        groups,
    )?;
    let (gate2, up2) = (gate.clone(), up.clone());
    tape.record_one(OP, &[gate, up], &y, move |cx, dy| {
        let sinks = [cx.sink(&gate2)?, cx.sink(&up2)?];
        if sinks.iter().all(Option::is_none) {
            return Ok(());
        }
        // One kernel makes both; what nobody wants goes nowhere.
        let or_scratch = |sink: Option<Sink>| match sink {
            Some(sink) => Ok(sink),
            None => Tensor::empty(cx.gpu(), dy.shape().clone(), dy.dtype()).map(|grad| Sink {
                grad,
                accumulate: false,
            }),
        };
        let [dgate, dup] = sinks;
        let (dgate, dup) = (or_scratch(dgate)?, or_scratch(dup)?);
        let params = params! {
            n: u32 = elements,
            accumulate: u32 = dgate.flag(),
            accumulate_up: u32 = dup.flag(),
        };
        let tensors = [&gate2, &up2, dy, &dgate.grad, &dup.grad];
        run(cx.gpu(), ("gated_bwd", &variant), &params, tensors, groups)
    });
    Ok(y)
}
