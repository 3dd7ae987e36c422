//! The numbers a reference computes with. One text serves twice: at f64 it is what is right, at f32
//! it is how far a plain f32 program strays from that, which is what a kernel is measured by.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64.
pub trait Float:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// The nearest.
    fn of(x: f64) -> Self;
    /// As f64.
    fn f64(self) -> f64;
    /// e^x
    fn exp(self) -> Self;
    /// ln x
    fn ln(self) -> Self;
    /// tanh x
    fn tanh(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
    /// |x|
    fn abs(self) -> Self;
    /// x^n
    fn powi(self, n: i32) -> Self;

    /// The larger.
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    /// The smaller.
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    /// σ(x), without overflow in exp for large |x|.
    fn sigmoid(self) -> Self {
        if self >= Self::ZERO {
            Self::ONE / (Self::ONE + (-self).exp())
        } else {
            let e = self.exp();
            e / (Self::ONE + e)
        }
    }
}

macro_rules! float {
    ($type:ty) => {
        impl Float for $type {
            /// 0
            const ZERO: Self = 0.0;
            /// 1
            const ONE: Self = 1.0;
            fn of(x: f64) -> Self {
                x as $type
            }
            fn f64(self) -> f64 {
                self.into()
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn tanh(self) -> Self {
                self.tanh()
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn abs(self) -> Self {
                self.abs()
            }
            fn powi(self, n: i32) -> Self {
                self.powi(n)
            }
        }
    };
}
float!(f32);
float!(f64);

/// The same values at the precision of a reference: `cast::<f64, _>(&data)`.
pub fn cast<To: Float, From: Float>(values: &[From]) -> Vec<To> {
    values.iter().map(|v| To::of(v.f64())).collect()
}
