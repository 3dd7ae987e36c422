//! Tensors in main memory or in a mapped file, converted only when they are read.

use std::borrow::Cow;

pub use crate::blocks::FloatType;
use half::{bf16, f16};
use safetensors::Dtype;

impl FloatType {
    /// The type that safetensors calls `dtype`; `None` for numbers that are no such floats.
    pub fn of(dtype: Dtype) -> Option<FloatType> {
        match dtype {
            Dtype::F32 => Some(FloatType::F32),
            Dtype::F16 => Some(FloatType::F16),
            Dtype::BF16 => Some(FloatType::Bf16),
            _ => None,
        }
    }

    /// What safetensors calls it.
    pub fn dtype(self) -> Dtype {
        match self {
            FloatType::F32 => Dtype::F32,
            FloatType::F16 => Dtype::F16,
            FloatType::Bf16 => Dtype::BF16,
        }
    }
}

/// A float tensor, row-major: f32 numbers, or the bytes of a mapped file (f32, f16 or bf16).
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a> {
    shape: Vec<usize>,
    data: Data<'a>,
}

#[derive(Debug, Clone, PartialEq)]
enum Data<'a> {
    Values(Cow<'a, [f32]>),
    Stored(FloatType, &'a [u8]),
}

impl<'a> Array<'a> {
    /// A tensor of these numbers; `None` unless there are as many as `shape` says.
    pub fn new(shape: &[usize], values: impl Into<Cow<'a, [f32]>>) -> Option<Array<'a>> {
        let values = values.into();
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (len == values.len()).then(|| Array {
            shape: shape.to_vec(),
            data: Data::Values(values),
        })
    }

    /// A tensor of these numbers, of which the caller has as many as `shape` says.
    pub(crate) fn whole(shape: &[usize], values: Vec<f32>) -> Array<'static> {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Array {
            shape: shape.to_vec(),
            data: Data::Values(values.into()),
        }
    }

    /// A tensor in a file whose header has been checked: `bytes` are as many as `shape` needs.
    pub(super) fn stored(shape: &[usize], dtype: FloatType, bytes: &'a [u8]) -> Array<'a> {
        debug_assert_eq!(shape.iter().product::<usize>() * dtype.size(), bytes.len());
        Array {
            shape: shape.to_vec(),
            data: Data::Stored(dtype, bytes),
        }
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers it holds.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The type it is held in.
    pub fn float_type(&self) -> FloatType {
        match self.data {
            Data::Values(_) => FloatType::F32,
            Data::Stored(dtype, _) => dtype,
        }
    }

    /// Its numbers as f32, which holds every f16 and bf16 exactly.
    pub fn values(&self) -> Cow<'_, [f32]> {
        match &self.data {
            Data::Values(values) => Cow::Borrowed(values),
            Data::Stored(dtype, bytes) => Cow::Owned(dtype.decode(bytes)),
        }
    }

    /// The same as f32, in memory of its own.
    pub fn into_owned(self) -> Array<'static> {
        let shape = self.shape.clone();
        Array::whole(&shape, self.into_values())
    }

    /// The first number that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<f32> {
        self.values().iter().copied().find(|x| !x.is_finite())
    }

    /// Its numbers as f32, in memory of their own.
    pub fn into_values(self) -> Vec<f32> {
        match self.data {
            Data::Values(values) => values.into_owned(),
            Data::Stored(dtype, bytes) => dtype.decode(bytes),
        }
    }

    /// How many of its numbers are finite and too large for the given type, which would have
    /// infinity instead.
    pub fn too_large_for(&self, as_type: FloatType) -> usize {
        if self.float_type() == as_type || as_type == FloatType::F32 {
            return 0;
        }
        let infinite = |x: f32| match as_type {
            FloatType::F16 => f16::from_f32(x).is_infinite(),
            FloatType::Bf16 => bf16::from_f32(x).is_infinite(),
            FloatType::F32 => false,
        };
        let values = self.values();
        let lost = values.iter().filter(|x| x.is_finite() && infinite(**x));
        lost.count()
    }

    /// Its little-endian bytes in the given type, rounded to nearest even where that is narrower.
    pub fn bytes(&self, as_type: FloatType) -> Cow<'_, [u8]> {
        match &self.data {
            Data::Stored(dtype, bytes) if *dtype == as_type => Cow::Borrowed(bytes),
            _ => Cow::Owned(as_type.encode(&self.values())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_types_round_to_nearest_even_and_come_back() {
        // 1 + 2^-8 and 1 + 3·2^-8 lie half-way between two bf16 numbers; 2^-25 between two f16.
        let half_way = 2f32.powi(-8);
        let values = [
            1.0 + half_way,
            1.0 + 3.0 * half_way,
            65504.0,
            -0.0,
            2f32.powi(-25),
        ];
        let array = Array::new(&[5], values.to_vec()).unwrap();
        let back = |t: FloatType| {
            let bytes = array.bytes(t).into_owned();
            Array::stored(&[5], t, &bytes).values().into_owned()
        };
        assert_eq!(back(FloatType::F32), values);
        assert_eq!(
            back(FloatType::Bf16),
            [1.0, 1.015_625, 65536.0, 0.0, 2f32.powi(-25)]
        );
        assert_eq!(
            back(FloatType::F16),
            [1.0 + half_way, 1.0 + 3.0 * half_way, 65504.0, 0.0, 0.0]
        );
        assert!(back(FloatType::F16)[3].is_sign_negative());
        assert!(Array::new(&[4], values.to_vec()).is_none());
    }

    #[test]
    fn numbers_that_a_type_cannot_hold_are_counted() {
        // 65520 is half-way between the largest f16 and what would be the next.
        let values = [65519.0, 65520.0, -1e6, f32::INFINITY, f32::NAN, f32::MAX];
        let array = Array::new(&[6], values.to_vec()).unwrap();
        assert_eq!(array.too_large_for(FloatType::F16), 3);
        assert_eq!(array.too_large_for(FloatType::Bf16), 1);
        assert_eq!(array.too_large_for(FloatType::F32), 0);
    }
}
