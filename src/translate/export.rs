//! Writes the whole catalogue for another engine: text, binaries, contracts and a manifest.

use super::{Module, emit, module};
use crate::atomic;
use crate::kernels::contract::Feature;
use crate::kernels::{KernelError, KernelSource, Result, Target, Variant, catalogue};
use serde::Serialize;
use std::path::Path;

/// `manifest.toml` of an export.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// melos version.
    pub version: String,
    /// Whose WGSL it is.
    pub target: Target,
    /// What that means, in words.
    pub dialect: String,
    /// How bindings map onto each API, in words.
    pub bindings: String,
    /// One entry per kernel and variant.
    pub kernels: Vec<ManifestEntry>,
}

/// One kernel variant of a [`Manifest`]. Paths are relative to the manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManifestEntry {
    /// Kernel name, which is the entry point of WGSL and SPIR-V.
    pub name: String,
    /// Constants and flags; defaults where left open.
    pub variant: String,
    /// Device features that it needs.
    pub features: Vec<Feature>,
    /// Fewest lanes that a subgroup must have; absent where the kernel has no subgroups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subgroup_min: Option<u32>,
    /// Most lanes that a subgroup may have; absent where any number is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subgroup_max: Option<u32>,
    /// Workgroup size.
    pub workgroup_size: [u32; 3],
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
    /// Size of the uniform struct in bytes.
    pub params_size: u32,
    /// The contract, as TOML; see [`Contract`](crate::kernels::Contract).
    pub contract: String,
    /// Expanded WGSL; absent where that of the target has no such operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wgsl: Option<String>,
    /// SPIR-V 1.3, little-endian words.
    pub spirv: String,
    /// Metal text and its entry point.
    pub metal: String,
    /// Entry point of the Metal text.
    pub metal_entry: String,
    /// HLSL text; absent where the language has no such operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hlsl: Option<String>,
    /// Entry point of the HLSL text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hlsl_entry: Option<String>,
}

/// Writes every kernel × listed variant below `dir`, one folder per family, and
/// `manifest.toml` last; the WGSL is that of `target`, all else is the same for both. Each file appears
/// whole or not at all; an existing one is replaced.
pub fn export(dir: &Path, target: Target) -> Result<Manifest> {
    let dialect = match target {
        Target::Web => {
            "as browsers, Dawn and Tint take it; kernels without it have cooperative matrices, \
             which this WGSL lacks"
        }
        Target::Naga => "as naga 30 and native wgpu take it, which refuse `enable subgroups;`",
    };
    let mut manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_string(),
        target,
        dialect: dialect.to_string(),
        bindings: format!(
            "WGSL @group(0) @binding(n) = SPIR-V set 0 binding n = Metal buffer(n), \
             of an image texture(n) = HLSL register(b|t|u n, space0). Metal entry points also declare a buffer of lengths at \
             {}, which no kernel reads.",
            emit::METAL_SIZES_SLOT
        ),
        kernels: Vec::new(),
    };
    for kernel in catalogue::iter() {
        let contract = kernel.contract()?;
        let sheet = format!("{}/{}.toml", kernel.family, kernel.name);
        write_toml(dir, &sheet, contract)?;
        for variant in contract.variants() {
            manifest
                .kernels
                .push(export_variant(dir, target, kernel, &sheet, &variant)?);
        }
    }
    write_toml(dir, "manifest.toml", &manifest)?;
    Ok(manifest)
}

fn export_variant(
    dir: &Path,
    target: Target,
    kernel: &KernelSource,
    sheet: &str,
    variant: &Variant,
) -> Result<ManifestEntry> {
    let built: Module = module(kernel, variant)?;
    let contract = kernel.contract()?;
    let features = contract.features(variant)?;
    let lanes = contract.lanes(variant)?;
    let suffix = match variant.key() {
        key if key.is_empty() => String::new(),
        key => format!("-{}", key.replace('=', "_").replace(',', "-")),
    };
    let stem = format!("{}/{}{suffix}", kernel.family, kernel.name);
    let path = |extension: &str| format!("{stem}.{extension}");

    let spirv: Vec<u8> = emit::spirv(&built)?
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    let (metal_entry, metal) = emit::msl(&built)?;
    write(dir, &path("spv"), &spirv)?;
    write(dir, &path("metal"), metal.as_bytes())?;
    let mut entry = ManifestEntry {
        name: kernel.name.to_string(),
        variant: contract.complete(variant)?.key(),
        features,
        subgroup_min: lanes.map(|lanes| lanes.least),
        subgroup_max: lanes.filter(|lanes| lanes.exact).map(|lanes| lanes.least),
        workgroup_size: built.reflection.workgroup_size,
        workgroup_bytes: built.reflection.workgroup_bytes,
        params_size: built.reflection.params_size,
        contract: sheet.to_string(),
        wgsl: None,
        spirv: path("spv"),
        metal: path("metal"),
        metal_entry,
        hlsl: None,
        hlsl_entry: None,
    };
    if entry.features.iter().all(|f| target.has(*f)) {
        let text = kernel.source(variant, target)?;
        write(dir, &path("wgsl"), text.as_bytes())?;
        entry.wgsl = Some(path("wgsl"));
    }
    // HLSL has no cooperative matrices.
    if !entry.features.contains(&Feature::CooperativeMatrix) {
        let (name, text) = emit::hlsl(&built)?;
        write(dir, &path("hlsl"), text.as_bytes())?;
        entry.hlsl = Some(path("hlsl"));
        entry.hlsl_entry = Some(name);
    }
    Ok(entry)
}

fn write_toml(dir: &Path, relative: &str, value: &impl Serialize) -> Result<()> {
    let text = toml::to_string(value).map_err(|e| KernelError::Write {
        path: relative.to_string(),
        message: e.to_string(),
    })?;
    write(dir, relative, text.as_bytes())
}

/// Writes `dir/relative`, whole or not at all.
fn write(dir: &Path, relative: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(relative);
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder)
        .and_then(|()| atomic::write(&path, |out| out.write_all(bytes)))
        .map_err(|e| KernelError::Write {
            path: path.display().to_string(),
            message: e.to_string(),
        })
}
