//! Element-wise operators with numpy broadcasting, dropout, reductions, and their gradients.

use super::float::Float;

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// −x
    Neg,
    /// |x|
    Abs,
    /// x²
    Square,
    /// √x
    Sqrt,
    /// e^x
    Exp,
    /// ln x
    Ln,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// tanh x
    Tanh,
    /// max(x, 0)
    Relu,
    /// x σ(x)
    Silu,
    /// GELU with tanh (Hendrycks & Gimpel 2016): x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))).
    GeluTanh,
}

impl Unary {
    /// All of them.
    pub const ALL: [Unary; 11] = [
        Unary::Neg,
        Unary::Abs,
        Unary::Square,
        Unary::Sqrt,
        Unary::Exp,
        Unary::Ln,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Relu,
        Unary::Silu,
        Unary::GeluTanh,
    ];

    /// f(x)
    pub fn value<F: Float>(self, x: F) -> F {
        match self {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Square => x * x,
            Unary::Sqrt => x.sqrt(),
            Unary::Exp => x.exp(),
            Unary::Ln => x.ln(),
            Unary::Sigmoid => x.sigmoid(),
            Unary::Tanh => x.tanh(),
            Unary::Relu => x.max(F::ZERO),
            Unary::Silu => x * x.sigmoid(),
            Unary::GeluTanh => F::of(0.5) * x * (F::ONE + gelu_inner(x).tanh()),
        }
    }

    /// d value / dx. At a kink the convention of PyTorch: 0 for |x| and relu at 0.
    pub fn slope<F: Float>(self, x: F) -> F {
        match self {
            Unary::Neg => -F::ONE,
            Unary::Abs if x > F::ZERO => F::ONE,
            Unary::Abs if x < F::ZERO => -F::ONE,
            Unary::Abs => F::ZERO,
            Unary::Square => F::of(2.0) * x,
            Unary::Sqrt => F::of(0.5) / x.sqrt(),
            Unary::Exp => x.exp(),
            Unary::Ln => F::ONE / x,
            Unary::Sigmoid => x.sigmoid() * (F::ONE - x.sigmoid()),
            Unary::Tanh => F::ONE - x.tanh() * x.tanh(),
            Unary::Relu if x > F::ZERO => F::ONE,
            Unary::Relu => F::ZERO,
            Unary::Silu => x.sigmoid() * (F::ONE + x * (F::ONE - x.sigmoid())),
            Unary::GeluTanh => {
                let th = gelu_inner(x).tanh();
                let inner = F::of(GELU_SCALE) * (F::ONE + F::of(3.0 * GELU_CUBIC) * x * x);
                F::of(0.5) * (F::ONE + th + x * (F::ONE - th * th) * inner)
            }
        }
    }
}

/// Φ(x), the normal distribution function, by its series near 0 and its continued fraction beyond.
pub fn normal_cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 4.0 {
        let (mut term, mut sum) = (x, x);
        for k in 1..200 {
            term *= x * x / f64::from(2 * k + 1);
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let fraction = (1..80).rev().fold(0.0, |f, k| f64::from(k) / (x.abs() + f));
    let tail = density / (x.abs() + fraction);
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// (value, slope) of x·Φ(x), GELU in its erf form; libm has no erf here, so f32 gets f64's value
/// rounded.
pub fn gelu<F: Float>(x: F) -> (F, F) {
    let x = x.f64();
    let (below, root) = (normal_cdf(x), std::f64::consts::TAU.sqrt());
    let slope = below + x * (-0.5 * x * x).exp() / root;
    (F::of(x * below), F::of(slope))
}

const GELU_SCALE: f64 = 0.797_884_560_802_865_4; // √(2/π)
const GELU_CUBIC: f64 = 0.044715;

fn gelu_inner<F: Float>(x: F) -> F {
    F::of(GELU_SCALE) * (x + F::of(GELU_CUBIC) * x * x * x)
}

/// f of every element.
pub fn unary<F: Float>(op: Unary, x: &[F]) -> Vec<F> {
    x.iter().map(|x| op.value(*x)).collect()
}

/// The gradient by x, from that of f(x).
pub fn unary_bwd<F: Float>(op: Unary, x: &[F], dy: &[F]) -> Vec<F> {
    assert_eq!(x.len(), dy.len(), "dy");
    x.iter().zip(dy).map(|(x, dy)| op.slope(*x) * *dy).collect()
}

/// Arithmetic of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a b
    Mul,
    /// a / b
    Div,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

impl Binary {
    /// All of them.
    pub const ALL: [Binary; 6] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
    ];

    /// f(a, b)
    pub fn value<F: Float>(self, a: F, b: F) -> F {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Max => a.max(b),
            Binary::Min => a.min(b),
        }
    }

    /// (∂/∂a, ∂/∂b). Where max and min meet, half each, as PyTorch does.
    pub fn slopes<F: Float>(self, a: F, b: F) -> (F, F) {
        let choose = |first: bool| {
            if a == b {
                (F::of(0.5), F::of(0.5))
            } else if first {
                (F::ONE, F::ZERO)
            } else {
                (F::ZERO, F::ONE)
            }
        };
        match self {
            Binary::Add => (F::ONE, F::ONE),
            Binary::Sub => (F::ONE, -F::ONE),
            Binary::Mul => (b, a),
            Binary::Div => (F::ONE / b, -a / (b * b)),
            Binary::Max => choose(a > b),
            Binary::Min => choose(a < b),
        }
    }
}

/// The shape that two shapes broadcast to (numpy: aligned at the right, 1 stretches).
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        (axis + shape.len())
            .checked_sub(rank)
            .map_or(1, |own| shape[own])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            (x, y) => panic!("{a:?} and {b:?} do not broadcast: {x} against {y}"),
        })
        .collect()
}

/// Where element `linear` of `out` reads in an operand of `shape`.
fn source(mut linear: usize, out: &[usize], shape: &[usize]) -> usize {
    let (mut at, mut stride) = (0, 1);
    for axis in (0..out.len()).rev() {
        let index = linear % out[axis];
        linear /= out[axis];
        if let Some(own) = (axis + shape.len()).checked_sub(out.len()) {
            at += if shape[own] == 1 { 0 } else { index * stride };
            stride *= shape[own];
        }
    }
    at
}

/// a ∘ b, in the shape both broadcast to.
pub fn binary<F: Float>(
    op: Binary,
    (a, a_shape): (&[F], &[usize]),
    (b, b_shape): (&[F], &[usize]),
) -> Vec<F> {
    let out = broadcast_shape(a_shape, b_shape);
    (0..out.iter().product())
        .map(|i| op.value(a[source(i, &out, a_shape)], b[source(i, &out, b_shape)]))
        .collect()
}

/// (da, db): dy summed over the axes that were stretched.
pub fn binary_bwd<F: Float>(
    op: Binary,
    (a, a_shape): (&[F], &[usize]),
    (b, b_shape): (&[F], &[usize]),
    dy: &[F],
) -> (Vec<F>, Vec<F>) {
    let out = broadcast_shape(a_shape, b_shape);
    let (mut da, mut db) = (vec![F::ZERO; a.len()], vec![F::ZERO; b.len()]);
    for (i, dy) in dy.iter().enumerate() {
        let (at_a, at_b) = (source(i, &out, a_shape), source(i, &out, b_shape));
        let (slope_a, slope_b) = op.slopes(a[at_a], b[at_b]);
        da[at_a] += slope_a * *dy;
        db[at_b] += slope_b * *dy;
    }
    (da, db)
}

/// Inverted dropout with a given mask (true: kept): y = x / (1 - p) where kept, 0 elsewhere. Its
/// gradient is the same function of dy.
pub fn dropout<F: Float>(x: &[F], keep: &[bool], p: f64) -> Vec<F> {
    assert_eq!(x.len(), keep.len(), "mask");
    let scale = F::ONE / (F::ONE - F::of(p));
    x.iter()
        .zip(keep)
        .map(|(x, keep)| if *keep { *x * scale } else { F::ZERO })
        .collect()
}

/// What becomes of the numbers of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// Σ x
    Sum,
    /// Σ x / n
    Mean,
    /// The largest.
    Max,
    /// Σ x²
    SumOfSquares,
}

impl Reduce {
    /// All of them.
    pub const ALL: [Reduce; 4] = [Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::SumOfSquares];
}

/// (outer, length, inner) of `axis`; no axis: everything.
fn split(shape: &[usize], axis: Option<usize>) -> (usize, usize, usize) {
    match axis {
        None => (1, shape.iter().product(), 1),
        Some(axis) => (
            shape[..axis].iter().product(),
            shape[axis],
            shape[axis + 1..].iter().product(),
        ),
    }
}

/// Reduces one axis (or, with None, all), which leaves the shape.
pub fn reduce<F: Float>(op: Reduce, x: &[F], shape: &[usize], axis: Option<usize>) -> Vec<F> {
    let (outer, length, inner) = split(shape, axis);
    let mut y = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let values = (0..length).map(|l| x[(o * length + l) * inner + i]);
            let sum = |values: &mut dyn Iterator<Item = F>| values.fold(F::ZERO, |s, v| s + v);
            y.push(match op {
                Reduce::Sum => sum(&mut values.into_iter()),
                Reduce::Mean => sum(&mut values.into_iter()) / F::of(length as f64),
                Reduce::SumOfSquares => sum(&mut values.map(|v| v * v)),
                Reduce::Max => values.fold(F::of(f64::NEG_INFINITY), F::max),
            });
        }
    }
    y
}

/// dx. Max gives its gradient to the first of equal maxima.
pub fn reduce_bwd<F: Float>(
    op: Reduce,
    x: &[F],
    shape: &[usize],
    axis: Option<usize>,
    dy: &[F],
) -> Vec<F> {
    let (outer, length, inner) = split(shape, axis);
    let mut dx = vec![F::ZERO; x.len()];
    for o in 0..outer {
        for i in 0..inner {
            let d = dy[o * inner + i];
            let at = |l: usize| (o * length + l) * inner + i;
            match op {
                Reduce::Sum => (0..length).for_each(|l| dx[at(l)] = d),
                Reduce::Mean => (0..length).for_each(|l| dx[at(l)] = d / F::of(length as f64)),
                Reduce::SumOfSquares => {
                    (0..length).for_each(|l| dx[at(l)] = F::of(2.0) * x[at(l)] * d);
                }
                Reduce::Max => {
                    let first = (1..length)
                        .fold(0, |best, l| if x[at(l)] > x[at(best)] { l } else { best });
                    dx[at(first)] = d;
                }
            }
        }
    }
    dx
}
