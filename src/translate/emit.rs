//! The three back ends. All are told what the kernels guarantee: no reliance on bounds
//! clamping, on zeroed workgroup memory or on bounded loops, so none of it is injected.

use super::Module;
use crate::kernels::{KernelError, Result};
use naga::back;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::{AddressSpace, Module as Ir, ResourceBinding, ShaderStage, StorageAccess};

/// Metal buffer slot of the array of buffer lengths that naga's signature has. No kernel reads
/// it; bind anything.
pub const METAL_SIZES_SLOT: u8 = 30;

const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

fn fail(module: &Module, stage: &'static str, message: String) -> KernelError {
    KernelError::Translate {
        kernel: module.name.clone(),
        stage,
        message,
    }
}

/// SPIR-V 1.3 words; descriptor set 0, bindings as in WGSL.
pub fn spirv(module: &Module) -> Result<Vec<u32>> {
    let options = back::spv::Options {
        lang_version: (1, 3),
        flags: back::spv::WriterFlags::DEBUG,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: back::spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        // With it every module that has f16 declares StorageInputOutput16, which drivers need not have;
        // compute shaders have no inputs and outputs of that kind.
        use_storage_input_output_16: false,
        ..Default::default()
    };
    let pipeline = back::spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: module.name.clone(),
    };
    back::spv::write_vec(&module.ir, &module.info, &options, Some(&pipeline))
        .map_err(|e| fail(module, "spir-v", e.to_string()))
}

/// (entry point, Metal 2.4 text); `@binding(n)` becomes `[[buffer(n)]]`, of an image `[[texture(n)]]`.
pub fn msl(module: &Module) -> Result<(String, String)> {
    let resources = bindings(&module.ir).map(|(at, space)| {
        let slot = Some(at.binding as u8);
        let image = space == AddressSpace::Handle;
        let target = back::msl::BindTarget {
            buffer: slot.filter(|_| !image),
            texture: slot.filter(|_| image),
            mutable: matches!(space, AddressSpace::Storage { access } if access.contains(StorageAccess::STORE)),
            ..Default::default()
        };
        (at, target)
    });
    let entry = back::msl::EntryPointResources {
        resources: resources.collect(),
        sizes_buffer: Some(METAL_SIZES_SLOT),
        ..Default::default()
    };
    let options = back::msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: [(module.name.clone(), entry)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: UNCHECKED,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let pipeline = back::msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, module.name.clone())),
        ..Default::default()
    };
    let (text, info) = back::msl::write_string(&module.ir, &module.info, &options, &pipeline)
        .map_err(|e| fail(module, "msl", e.to_string()))?;
    let name = match info.entry_point_names.into_iter().next() {
        Some(Ok(name)) => name,
        other => return Err(fail(module, "msl", format!("no entry point: {other:?}"))),
    };
    Ok((name, text))
}

/// (entry point, HLSL text for shader model 6.2); `@binding(n)` becomes register b/t/u n, space 0.
pub fn hlsl(module: &Module) -> Result<(String, String)> {
    let options = back::hlsl::Options {
        shader_model: back::hlsl::ShaderModel::V6_2,
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = back::hlsl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, module.name.clone())),
    };
    let mut text = String::new();
    let info = back::hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module.ir, &module.info, None)
        .map_err(|e| fail(module, "hlsl", e.to_string()))?;
    let name = match info.entry_point_names.into_iter().next() {
        Some(Ok(name)) => name,
        other => return Err(fail(module, "hlsl", format!("no entry point: {other:?}"))),
    };
    Ok((name, text))
}

/// Bound variables and what they are bound to.
fn bindings(ir: &Ir) -> impl Iterator<Item = (ResourceBinding, AddressSpace)> + '_ {
    let variables = ir.global_variables.iter();
    variables.filter_map(|(_, v)| v.binding.map(|at| (at, v.space)))
}
