//! A file with the weights of a model, whatever its kind.

use std::borrow::Cow;
use std::path::Path;

use safetensors::Dtype;

use super::array::{Array, FloatType};
use super::bitsandbytes::{Quantised, is_quantised};
use super::file::TensorFile;
use super::gguf::{BlockType, GgufModel};
use super::torch::TorchFile;
use crate::error::Result;

/// How the numbers of a tensor are held in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// One by one.
    Plain(Dtype),
    /// In blocks.
    Packed(BlockType),
}

impl ElementType {
    /// F32, F16, Q4_K, …
    pub fn name(self) -> String {
        match self {
            ElementType::Plain(dtype) => format!("{dtype:?}"),
            ElementType::Packed(kind) => kind.name().to_string(),
        }
    }

    /// The float type that it is; numbers in blocks are read as f32.
    pub fn float_type(self) -> Option<FloatType> {
        match self {
            ElementType::Plain(dtype) => FloatType::of(dtype),
            ElementType::Packed(kind) => Some(kind.float_type().unwrap_or(FloatType::F32)),
        }
    }

    /// Bytes of so many numbers.
    pub fn bytes(self, elements: usize) -> u64 {
        match self {
            ElementType::Plain(dtype) => (elements as u64 * dtype.bitsize() as u64).div_ceil(8),
            ElementType::Packed(kind) => kind.bytes_of(elements).unwrap_or(0) as u64,
        }
    }
}

/// A file with weights.
#[derive(Debug)]
pub(super) enum Weights {
    Safetensors(TensorFile),
    Gguf(GgufModel),
    Quantised(Quantised),
    Torch(TorchFile),
}

impl Weights {
    /// A model's files, of which bitsandbytes may have quantised weights.
    pub(super) fn of(files: Vec<TensorFile>) -> Result<Vec<Weights>> {
        if is_quantised(&files) {
            return Ok(vec![Weights::Quantised(Quantised::new(files)?)]);
        }
        Ok(files.into_iter().map(Weights::Safetensors).collect())
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Weights::Safetensors(file) => file.path(),
            Weights::Gguf(file) => file.path(),
            Weights::Quantised(files) => files.path(),
            Weights::Torch(file) => file.path(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Weights::Safetensors(file) => file.names(),
            Weights::Gguf(file) => file.names(),
            Weights::Quantised(files) => files.names(),
            Weights::Torch(file) => file.names(),
        }
    }

    pub(super) fn info(&self, name: &str) -> Option<(ElementType, &[usize])> {
        match self {
            Weights::Safetensors(file) => {
                let (dtype, shape) = file.info(name)?;
                Some((ElementType::Plain(dtype), shape))
            }
            Weights::Gguf(file) => {
                let (kind, shape) = file.info(name)?;
                Some((ElementType::Packed(kind), shape))
            }
            Weights::Quantised(files) => files.info(name),
            Weights::Torch(file) => {
                let (dtype, shape) = file.info(name)?;
                Some((ElementType::Plain(dtype), shape))
            }
        }
    }

    pub(super) fn array(&self, name: &str) -> Result<Array<'_>> {
        match self {
            Weights::Safetensors(file) => file.array(name),
            Weights::Gguf(file) => file.array(name),
            Weights::Quantised(files) => files.array(name),
            Weights::Torch(file) => file.array(name),
        }
    }

    /// A tensor's blocks, row after row; `None` where it is not held in such.
    pub(super) fn blocks(&self, name: &str) -> Result<Option<(BlockType, Cow<'_, [u8]>)>> {
        match self {
            Weights::Safetensors(_) | Weights::Torch(_) => Ok(None),
            Weights::Gguf(file) => file.blocks(name),
            Weights::Quantised(files) => files.blocks(name),
        }
    }
}
