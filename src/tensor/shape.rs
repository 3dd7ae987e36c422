//! Element types and shapes.

use std::fmt;

use crate::blocks::BlockType;

/// Element type of a [`Tensor`](super::Tensor).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float: memory for activations and frozen weights; computed is in f32.
    F16,
    /// 32-bit unsigned integer.
    U32,
    /// Floats in blocks that share a scale: frozen weights.
    Packed(BlockType),
}

impl DType {
    /// Bytes of so many elements; of packed ones, of their blocks.
    pub fn bytes(self, len: usize) -> u64 {
        match self {
            DType::F32 | DType::U32 => 4 * len as u64,
            DType::F16 => 2 * len as u64,
            DType::Packed(kind) => len.div_ceil(kind.elements()) as u64 * kind.bytes() as u64,
        }
    }

    /// The fewest elements that fill a multiple of so many bytes, which are a power of two.
    pub fn align(self, bytes: usize) -> usize {
        let (elements, size) = match self {
            DType::F32 | DType::U32 => (1, 4),
            DType::F16 => (1, 2),
            DType::Packed(kind) => (kind.elements(), kind.bytes()),
        };
        let shared = 1 << size.trailing_zeros().min(bytes.trailing_zeros());
        elements * (bytes / shared)
    }

    /// `f32`, `f16`, `u32`, or what blocks are called, as `Q4_0`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
            DType::Packed(kind) => kind.name(),
        }
    }
}

/// Host types that a tensor can hold.
pub trait Element: bytemuck::Pod {
    /// The matching element type.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for u32 {
    const DTYPE: DType = DType::U32;
}

/// A shape, outermost axis first; printed as `(T, B, C)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of the last axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last.
    pub fn rows(&self) -> usize {
        self.len() / self.last().max(1)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "({})", sizes.join(", "))
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Shape {
        Shape(sizes.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(sizes: Vec<usize>) -> Shape {
        Shape(sizes)
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Shape {
        Shape(sizes.to_vec())
    }
}

/// Bytes of `len` elements: whole words, as copies and bindings want them; of blocks whole sixteens, which
/// is how kernels may read them.
pub(super) fn bytes(len: usize, dtype: DType) -> u64 {
    let unit = match dtype {
        DType::Packed(_) => 16,
        _ => 4,
    };
    dtype.bytes(len).next_multiple_of(unit)
}
