//! Operators on every element: functions of one tensor, arithmetic of two with broadcasting.

use super::kernel::{lanes, run, stored};
use crate::device::{Groups, params};
use crate::error::Result;
use crate::kernels::Variant;
use crate::tensor::{Backward, DType, Tape, Tensor};

const GROUP: usize = 256;

/// Queues `y (=|+=) alpha · x`, times a factor (1) that only the device knows; x and y f32 or f16.
pub(crate) fn axpy(
    y: &Tensor,
    x: &Tensor,
    alpha: f32,
    factor: Option<&Tensor>,
    accumulate: bool,
) -> Result<()> {
    let lanes = lanes(y.len());
    let variant = Variant::new()
        .with("SCALED", factor.is_some())
        .with("X16", x.is_half())
        .with("Y16", y.is_half())
        .with("VEC4", lanes == 4);
    let elements = y.len() / lanes;
    let params = params! { n: u32 = elements, accumulate: u32, alpha: f32 };
    let tensors = [Some(x), factor, Some(y)].into_iter().flatten();
    let groups = Groups::cover(elements, GROUP);
    run(y.gpu(), ("axpy", &variant), &params, tensors, groups)
}

/// The same values in another float type; `x` itself where it is its own.
///
/// # Errors
/// [`crate::Error::DType`] unless both are float types.
pub fn cast(tape: &Tape, x: &Tensor, to: DType) -> Result<Tensor> {
    x.expect_float("cast", "x")?;
    if x.dtype() == to {
        return Ok(x.clone());
    }
    let y = Tensor::empty(tape.gpu(), x.shape().clone(), to)?;
    y.expect_float("cast", "to")?;
    axpy(&y, x, 1.0, None, false)?;
    tape.record_map("cast", x, &y, |_, dy, dx| {
        axpy(&dx.grad, dy, 1.0, None, dx.accumulate)
    });
    Ok(y)
}

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// max(x, 0)
    Relu,
    /// tanh x
    Tanh,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// GELU in its tanh form
    GeluTanh,
    /// GELU in its erf form
    Gelu,
    /// eˣ
    Exp,
    /// ln x
    Log,
    /// √x
    Sqrt,
    /// x²
    Square,
    /// alpha·x + beta
    Affine {
        /// Factor.
        alpha: f32,
        /// Summand.
        beta: f32,
    },
}

impl Unary {
    fn code(self) -> u32 {
        match self {
            Unary::Relu => 0,
            Unary::Tanh => 1,
            Unary::Sigmoid => 2,
            Unary::GeluTanh => 3,
            Unary::Gelu => 4,
            Unary::Exp => 5,
            Unary::Log => 6,
            Unary::Sqrt => 7,
            Unary::Square => 8,
            Unary::Affine { .. } => 9,
        }
    }

    fn constants(self) -> (f32, f32) {
        match self {
            Unary::Affine { alpha, beta } => (alpha, beta),
            _ => (0.0, 0.0),
        }
    }

    /// Whether the derivative is computed from the result rather than from the argument.
    fn saves_result(self) -> bool {
        matches!(
            self,
            Unary::Relu | Unary::Tanh | Unary::Sigmoid | Unary::Exp | Unary::Sqrt
        )
    }
}

/// y = f(x), any shape, f32 or f16.
///
/// # Errors
/// [`crate::Error::DType`] when `x` does not hold floats.
pub fn unary(tape: &Tape, x: &Tensor, f: Unary) -> Result<Tensor> {
    x.expect_float("unary", "x")?;
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, x.shape().clone(), x.dtype())?;
    let lanes = lanes(y.len());
    let variant = stored(x, lanes).with("OP", f.code());
    let elements = y.len() / lanes;
    let groups = Groups::cover(elements, GROUP);
    let (alpha, beta) = f.constants();
    let params = params! { n: u32 = elements, alpha: f32, beta: f32 };
    run(gpu, ("unary_fwd", &variant), &params, [x, &y], groups)?;
    let saved = if f.saves_result() { &y } else { x }.clone();
    tape.record_map("unary", x, &y, move |gpu, dy, dx| {
        let params = params! { n: u32 = elements, accumulate: u32 = dx.flag(), alpha: f32 };
        let tensors = [&saved, dy, &dx.grad];
        run(gpu, ("unary_bwd", &variant), &params, tensors, groups)
    });
    Ok(y)
}

/// alpha·x.
///
/// # Errors
/// [`crate::Error::DType`] when `x` does not hold floats.
pub fn scale(tape: &Tape, x: &Tensor, alpha: f32) -> Result<Tensor> {
    unary(tape, x, Unary::Affine { alpha, beta: 0.0 })
}

/// Arithmetic of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
}

/// Sizes right-aligned to four axes, leading ones 1.
fn four(dims: &[usize]) -> [u32; 4] {
    let mut out = [1; 4];
    for (o, &d) in out.iter_mut().rev().zip(dims.iter().rev()) {
        *o = d as u32;
    }
    out
}

/// Row-major strides of `shape` seen as an operand of `out`: 0 where an axis is repeated.
fn strides(shape: [u32; 4], out: [u32; 4]) -> [u32; 4] {
    let mut stride = 1;
    let mut strides = [0; 4];
    for axis in (0..4).rev() {
        if shape[axis] == out[axis] {
            strides[axis] = stride;
        }
        stride *= shape[axis];
    }
    strides
}

/// The common shape of two operands, as NumPy broadcasts them.
fn broadcast(a: &Tensor, b: &Tensor) -> Result<[u32; 4]> {
    let (sa, sb) = (four(a.dims()), four(b.dims()));
    let apart = |(x, y): (&u32, &u32)| x != y && *x != 1 && *y != 1;
    let fits = a.dims().len() <= 4 && b.dims().len() <= 4;
    if !fits || sa.iter().zip(&sb).any(apart) {
        return Err(b.wrong_shape(
            "binary",
            "b",
            format!("up to 4 axes that broadcast with {}", a.shape()),
        ));
    }
    Ok(std::array::from_fn(|i| sa[i].max(sb[i])))
}

/// y = a op b, shapes broadcast as in NumPy, up to four axes. Either holds f32 or f16; y holds what
/// a does.
///
/// # Errors
/// [`crate::Error::Shape`] when they do not broadcast, [`crate::Error::DType`] unless both hold floats.
pub fn binary(tape: &Tape, op: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.expect_float("binary", "a")?;
    b.expect_float("binary", "b")?;
    let shape = broadcast(a, b)?;
    let rank = a.dims().len().max(b.dims().len());
    let dims: Vec<usize> = shape[4 - rank..].iter().map(|&d| d as usize).collect();
    let gpu = tape.gpu();
    let y = Tensor::empty(gpu, dims, a.dtype())?;
    let same = a.shape() == b.shape();
    let lanes = if same { lanes(y.len()) } else { 1 };
    let variant = Variant::new()
        .with("OP", op as u32)
        .with("SAME", same)
        .with("A16", a.is_half())
        .with("B16", b.is_half())
        .with("VEC4", lanes == 4);
    let elements = y.len() / lanes;
    let params = params! {
        shape: [u32; 4],
        stride_a: [u32; 4] = strides(four(a.dims()), shape),
        stride_b: [u32; 4] = strides(four(b.dims()), shape),
        n: u32 = elements,
        _pad: [u32; 3] = [0u32; 3],
    };
    let groups = Groups::cover(elements, GROUP);
    run(gpu, ("binary_fwd", &variant), &params, [a, b, &y], groups)?;
    let (a2, b2) = (a.clone(), b.clone());
    tape.record_one("binary", &[a, b], &y, move |cx, dy| {
        binary_backward(cx, op, &a2, &b2, dy, shape, 0)?;
        binary_backward(cx, op, &a2, &b2, dy, shape, 1)
    });
    Ok(y)
}

fn binary_backward(
    cx: &mut Backward,
    op: Binary,
    a: &Tensor,
    b: &Tensor,
    dy: &Tensor,
    shape: [u32; 4],
    wrt: u32,
) -> Result<()> {
    let operand = if wrt == 0 { a } else { b };
    let Some(sink) = cx.sink(operand)? else {
        return Ok(());
    };
    let own = four(operand.dims());
    if op == Binary::Add && own == shape {
        return axpy(&sink.grad, dy, 1.0, None, sink.accumulate);
    }
    let repeat: [u32; 4] = std::array::from_fn(|i| if own[i] == shape[i] { 1 } else { shape[i] });
    let repeats: u32 = repeat.iter().product();
    // Sharing one element among 64 lanes pays when each has several terms to add.
    let lanes = if repeats >= 256 { 64 } else { 1 };
    let variant = Variant::new()
        .with("OP", op as u32)
        .with("WRT", wrt)
        .with("A16", a.is_half())
        .with("B16", b.is_half())
        .with("DX16", sink.grad.is_half())
        .with("LANES", lanes);
    let params = params! {
        shape: [u32; 4] = own,
        repeat: [u32; 4],
        stride_y: [u32; 4] = strides(shape, shape),
        stride_a: [u32; 4] = strides(four(a.dims()), shape),
        stride_b: [u32; 4] = strides(four(b.dims()), shape),
        n: u32 = operand.len(),
        repeats: u32,
        accumulate: u32 = sink.flag(),
        _pad: u32 = 0,
    };
    let tensors = [dy, a, b, &sink.grad];
    let groups = Groups::cover(operand.len() * lanes as usize, 64);
    run(cx.gpu(), ("binary_bwd", &variant), &params, tensors, groups)
}

/// a + b, broadcast.
///
/// # Errors
/// As [`binary`].
pub fn add(tape: &Tape, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(tape, Binary::Add, a, b)
}

/// a · b element by element, broadcast.
///
/// # Errors
/// As [`binary`].
pub fn mul(tape: &Tape, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(tape, Binary::Mul, a, b)
}
