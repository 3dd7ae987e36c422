//! `melos devices`.

use clap::Args;
use serde_json::json;

use super::output;
use crate::device::{AdapterReport, left_out, list_adapters};
use crate::error::{Error, Result};
use crate::train::estimate::mebibytes;

/// List the adapters: drivers, limits and what they can do.
#[derive(Debug, Args)]
pub struct Devices {
    /// One JSON object per adapter.
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(self) -> Result<()> {
        let adapters = list_adapters();
        if adapters.is_empty() {
            return Err(Error::NoAdapter {
                looked_for: "Vulkan, Metal, DX12".into(),
            });
        }
        adapters
            .iter()
            .enumerate()
            .try_for_each(|(index, adapter)| {
                let json = as_json(index, adapter);
                output::show(self.json, &json, || as_text(index, adapter))
            })
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn as_text(index: usize, adapter: &AdapterReport) -> String {
    let (caps, limits) = (&adapter.caps, &adapter.caps.limits);
    let subgroups = match (caps.subgroup, caps.subgroup_min == caps.subgroup_max) {
        (false, _) => "no".to_string(),
        (true, true) => caps.subgroup_min.to_string(),
        (true, false) => format!("{} to {}", caps.subgroup_min, caps.subgroup_max),
    };
    let mut matrices = adapter.cooperative_matrix.join(", ");
    if matrices.is_empty() {
        matrices = "no".to_string();
    }
    let without = match left_out(caps).join(", ") {
        none if none.is_empty() => none,
        parts => format!("   left out, as `melos doctor` found them wrong: {parts}\n"),
    };
    format!(
        "{index}: {}{}\n   {}, {}, {}\n   subgroups {subgroups}, f16 {}, timestamps {}, cooperative matrix {matrices}\n   \
         largest binding {}, largest buffer {}, workgroup {} invocations and {} KiB, {} storage buffers a stage\n{without}",
        caps.name,
        if adapter.preferred {
            "  (preferred)"
        } else {
            ""
        },
        adapter.kind,
        caps.backend,
        caps.driver,
        yes_no(caps.f16),
        yes_no(caps.timestamps),
        mebibytes(limits.max_storage_buffer_binding_size),
        mebibytes(limits.max_buffer_size),
        limits.max_compute_invocations_per_workgroup,
        limits.max_compute_workgroup_storage_size / 1024,
        limits.max_storage_buffers_per_shader_stage,
    )
}

fn as_json(index: usize, adapter: &AdapterReport) -> serde_json::Value {
    let (caps, limits) = (&adapter.caps, &adapter.caps.limits);
    json!({
        "index": index,
        "name": caps.name,
        "preferred": adapter.preferred,
        "kind": adapter.kind,
        "backend": caps.backend,
        "driver": caps.driver,
        "subgroup_sizes": caps.subgroup.then_some([caps.subgroup_min, caps.subgroup_max]),
        "f16": caps.f16,
        "timestamps": caps.timestamps,
        "cooperative_matrix": adapter.cooperative_matrix,
        "left_out": left_out(caps),
        "max_binding": limits.max_storage_buffer_binding_size,
        "max_buffer": limits.max_buffer_size,
        "max_invocations": limits.max_compute_invocations_per_workgroup,
        "workgroup_memory": limits.max_compute_workgroup_storage_size,
        "max_storage_buffers": limits.max_storage_buffers_per_shader_stage,
    })
}
