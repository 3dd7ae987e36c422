//! Which adapter to use, and what it can do.

use std::fmt;

use super::image::ImageLimits;
use crate::error::{Error, Result};

/// How the adapter is chosen.
#[derive(Debug, Clone, Default)]
pub struct AdapterChoice {
    /// Index in [`list_adapters`]' order, or part of a name (case ignored). Without it the
    /// environment variable `MELOS_ADAPTER` decides, and without that the kind of adapter:
    /// discrete before integrated before virtual before software.
    pub wanted: Option<String>,
    /// Compile kernels with the bounds checks that a release leaves out (for tests).
    pub checked: bool,
}

/// What an opened adapter can do.
#[derive(Debug, Clone)]
pub struct Caps {
    /// Adapter name, as the driver gives it.
    pub name: String,
    /// Driver name and version.
    pub driver: String,
    /// Graphics interface: vulkan, metal, dx12.
    pub backend: String,
    /// Whether the adapter is a software renderer on the CPU.
    pub is_cpu: bool,
    /// Subgroup operations can be used.
    pub subgroup: bool,
    /// Smallest subgroup size.
    pub subgroup_min: u32,
    /// Largest subgroup size.
    pub subgroup_max: u32,
    /// 16-bit floats can be used in shaders.
    pub f16: bool,
    /// Matrix units that multiply f16 and add f32 can be used, by shaders that know the size of a
    /// subgroup.
    pub matrix: Option<MatrixUnits>,
    /// Operands can be copied into images and read from there.
    pub images: bool,
    /// Products can be made by register tiles over workgroup memory.
    pub tiles: bool,
    /// Timestamps can be written between passes.
    pub timestamps: bool,
    /// All limits, as the adapter has them.
    pub limits: wgpu::Limits,
}

/// Cooperative matrices of f16 with sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MatrixUnits {
    /// Rows, columns and inner size of one: 16 or 8.
    pub size: u32,
    /// Invocations of a subgroup, which share one.
    pub subgroup: u32,
}

impl Caps {
    /// Whether kernels run that share by broadcast what eight lanes of a subgroup hold.
    pub fn broadcasts(&self) -> bool {
        self.subgroup && self.subgroup_min >= 8
    }

    /// Whether kernels run that read their operands from images.
    pub fn reads_images(&self) -> bool {
        self.broadcasts() && self.images
    }

    /// How large images may be.
    pub fn image_limits(&self) -> ImageLimits {
        ImageLimits {
            side: self.limits.max_texture_dimension_2d,
            layers: self.limits.max_texture_array_layers,
        }
    }
}

impl MatrixUnits {
    fn of(adapter: &wgpu::Adapter) -> Option<MatrixUnits> {
        use wgpu::CooperativeScalarType::{F16, F32};
        let info = adapter.get_info();
        let features = adapter.features();
        // The size of a subgroup cannot be asked for: it must have only one.
        let subgroup = info.subgroup_min_size;
        let known = subgroup > 0 && subgroup == info.subgroup_max_size;
        let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
        let all = adapter.cooperative_matrix_properties();
        let has = |size: &u32| {
            all.iter().any(|m| {
                (m.ab_type, m.cr_type) == (F16, F32) && [m.m_size, m.n_size, m.k_size] == [*size; 3]
            })
        };
        let size = [16, 8].into_iter().find(has)?;
        (known && features.contains(needed)).then_some(MatrixUnits { size, subgroup })
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.backend, self.driver)
    }
}

/// One line of `melos devices`.
#[derive(Debug, Clone)]
pub struct AdapterReport {
    /// What it can do.
    pub caps: Caps,
    /// discrete, integrated, virtual, software or other.
    pub kind: &'static str,
    /// Cooperative matrix shapes, such as `16x16x16 f16 f32`.
    pub cooperative_matrix: Vec<String>,
    /// Whether this adapter is the one used when none is named.
    pub preferred: bool,
}

fn instance() -> wgpu::Instance {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    wgpu::Instance::new(desc)
}

/// The kinds of adapters by rank, the best first.
fn kind(adapter: &wgpu::Adapter) -> (u32, &'static str) {
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => (0, "discrete"),
        wgpu::DeviceType::IntegratedGpu => (1, "integrated"),
        wgpu::DeviceType::VirtualGpu => (2, "virtual"),
        wgpu::DeviceType::Other => (3, "other"),
        wgpu::DeviceType::Cpu => (4, "software"),
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let instance = instance();
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    // A stable sort keeps the driver's own order among equals.
    adapters.sort_by_key(|a| kind(a).0);
    adapters
}

pub(super) fn caps_of(adapter: &wgpu::Adapter) -> Caps {
    let info = adapter.get_info();
    let features = adapter.features();
    Caps {
        name: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_string(),
        backend: info.backend.to_string(),
        is_cpu: info.device_type == wgpu::DeviceType::Cpu,
        subgroup: features.contains(wgpu::Features::SUBGROUP),
        subgroup_min: info.subgroup_min_size,
        subgroup_max: info.subgroup_max_size,
        f16: features.contains(wgpu::Features::SHADER_F16),
        matrix: MatrixUnits::of(adapter),
        images: true,
        tiles: true,
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        limits: adapter.limits(),
    }
}

/// Every adapter of this machine, best first.
pub fn list_adapters() -> Vec<AdapterReport> {
    let report = |(index, adapter): (usize, &wgpu::Adapter)| {
        let matrices = adapter.cooperative_matrix_properties();
        let matrices = matrices.iter().map(|m| {
            let (m, n, k, of, sum) = (m.m_size, m.n_size, m.k_size, m.ab_type, m.cr_type);
            format!("{m}x{n}x{k} {of:?} {sum:?}")
        });
        AdapterReport {
            caps: caps_of(adapter),
            kind: kind(adapter).1,
            cooperative_matrix: matrices.collect(),
            preferred: index == 0,
        }
    };
    enumerate().iter().enumerate().map(report).collect()
}

pub(super) fn choose(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let mut adapters = enumerate();
    if adapters.is_empty() {
        return Err(Error::NoAdapter {
            looked_for: "Vulkan, Metal, DX12".into(),
        });
    }
    let from_env = || {
        std::env::var("MELOS_ADAPTER")
            .ok()
            .filter(|v| !v.is_empty())
    };
    let Some(wanted) = choice.wanted.clone().or_else(from_env) else {
        return Ok(adapters.swap_remove(0));
    };
    let names: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
    let index = match wanted.parse::<usize>() {
        Ok(index) => (index < adapters.len()).then_some(index),
        Err(_) => {
            let wanted = wanted.to_lowercase();
            let named = |name: &String| name.to_lowercase().contains(&wanted);
            names.iter().position(named)
        }
    };
    if let Some(index) = index {
        return Ok(adapters.swap_remove(index));
    }
    let available = names.iter().enumerate().map(|(i, n)| format!("{i}: {n}"));
    let available = available.collect::<Vec<_>>().join(", ");
    Err(Error::UnknownAdapter { wanted, available })
}

#[cfg(test)]
pub(super) mod tests {
    use super::Caps;

    /// An adapter for tests, with subgroups of so many lanes.
    pub fn caps(subgroup_min: u32) -> Caps {
        Caps {
            name: "a card / rev. 1".into(),
            driver: "driver 1.0".into(),
            backend: "vulkan".into(),
            is_cpu: false,
            subgroup: subgroup_min > 0,
            subgroup_min,
            subgroup_max: subgroup_min,
            f16: false,
            matrix: None,
            images: true,
            tiles: true,
            timestamps: false,
            limits: wgpu::Limits::default(),
        }
    }
}
