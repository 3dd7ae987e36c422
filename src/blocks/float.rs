//! Floats one by one, in the widths that weights are written in.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// The element types that weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum FloatType {
    F32,
    F16,
    Bf16,
}

impl FloatType {
    /// Names of all of them, on the command line.
    pub const NAMES: &[&str] = &["f32", "f16", "bf16"];

    /// What PyTorch, and with it `config.json`, calls it.
    pub fn torch_name(self) -> &'static str {
        match self {
            FloatType::F32 => "float32",
            FloatType::F16 => "float16",
            FloatType::Bf16 => "bfloat16",
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            FloatType::F32 => 4,
            FloatType::F16 | FloatType::Bf16 => 2,
        }
    }

    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            FloatType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            FloatType::F16 => (values.iter())
                .flat_map(|&x| f16::from_f32(x).to_le_bytes())
                .collect(),
            FloatType::Bf16 => (values.iter())
                .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                .collect(),
        }
    }

    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let pairs = || bytes.as_chunks::<2>().0.iter();
        match self {
            FloatType::F32 => (bytes.as_chunks::<4>().0.iter())
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
            FloatType::F16 => pairs().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            FloatType::Bf16 => pairs().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        }
    }
}
