//! The kernel catalogue: WGSL text, a contract for each kernel, and the preprocessor that makes
//! the text of a variant.
//!
//! This layer knows no tensor and owns no device. With default features off it is all of
//! melos, and it is what another engine embeds: ask [`catalogue::source`] for the text of a
//! kernel, read [`Contract`] for its bindings, parameters and dispatch geometry.

pub mod catalogue;
pub mod contract;
mod declared;
mod error;
pub mod grid;
mod notes;
pub mod philox;
pub mod preprocess;
pub mod token_index;
mod variant;
pub mod work;

pub use catalogue::KernelSource;
pub use contract::Contract;
pub use error::{KernelError, Result};
pub use variant::{Value, Variant};

use contract::Feature;
use serde::{Deserialize, Serialize};

/// For whom a shader's text is meant: they differ in the `enable` lines they accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// naga and native wgpu, which refuse `enable subgroups;`.
    Naga,
    /// Browsers, Dawn and Tint, which require it.
    Web,
}

impl Target {
    /// Whether its WGSL can say what a kernel with this feature does.
    pub fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::Subgroup | Feature::F16 => true,
            Feature::CooperativeMatrix => self == Target::Naga,
        }
    }
}
