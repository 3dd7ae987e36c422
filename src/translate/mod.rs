//! From a kernel's WGSL to what other engines read: parsed and validated by naga, reflected,
//! and written as SPIR-V, MSL and HLSL. Needs no GPU.

mod emit;
mod export;
mod reflect;

pub use emit::{hlsl, msl, spirv};
pub use export::{Manifest, ManifestEntry, export};
pub use reflect::{ReflectedBinding, ReflectedField, Reflection};

use crate::kernels::contract::Feature;
use crate::kernels::{KernelError, KernelSource, Result, Target, Variant};
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// A validated module with its overrides resolved to their defaults.
#[derive(Debug)]
pub struct Module {
    /// Kernel name = entry point.
    pub name: String,
    /// The expanded WGSL.
    pub wgsl: String,
    /// What the shader declares.
    pub reflection: Reflection,
    pub(crate) ir: naga::Module,
    pub(crate) info: naga::valid::ModuleInfo,
}

/// Expands, parses and validates one variant of a kernel.
///
/// A baseline kernel is held to what every browser has; a feature of the contract adds
/// exactly its own capability.
pub fn module(kernel: &KernelSource, variant: &Variant) -> Result<Module> {
    let wgsl = kernel.source(variant, Target::Naga)?;
    compile(kernel.name, &wgsl, &kernel.contract()?.features(variant)?)
}

/// Parses and validates WGSL whose entry point is `name`.
pub fn compile(name: &str, wgsl: &str, features: &[Feature]) -> Result<Module> {
    let fail = |stage, message| KernelError::Translate {
        kernel: name.to_string(),
        stage,
        message,
    };
    let parsed =
        naga::front::wgsl::parse_str(wgsl).map_err(|e| fail("parse", e.emit_to_string(wgsl)))?;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities(features));
    let info = validator
        .validate(&parsed)
        .map_err(|e| fail("validate", e.emit_to_string(wgsl)))?;
    let entry = Some((naga::ShaderStage::Compute, name));
    let (ir, info) = process_overrides(&parsed, &info, entry, &Default::default())
        .map_err(|e| fail("validate", format!("overrides: {e}")))?;
    let reflection = Reflection::of(name, &parsed, &ir)?;
    Ok(Module {
        name: name.to_string(),
        wgsl: wgsl.to_string(),
        reflection,
        ir: ir.into_owned(),
        info: info.into_owned(),
    })
}

/// The web has none of naga's optional capabilities; features add theirs.
fn capabilities(features: &[Feature]) -> Capabilities {
    features.iter().fold(Capabilities::empty(), |caps, f| {
        caps | match f {
            Feature::Subgroup => Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER,
            Feature::F16 => Capabilities::SHADER_FLOAT16,
            Feature::CooperativeMatrix => Capabilities::COOPERATIVE_MATRIX,
        }
    })
}
