//! Compiled kernels, one for each name and variant, made once per device.
//!
//! Drivers take long to compile: it begins on another thread when a kernel is first asked for, and
//! is waited for before the kernel's first command is encoded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::adapter::Caps;
use super::driver::Driver;
use super::image::image_format;
use super::lock::lock;
use super::work::Counter;
use crate::error::{Error, Result};
use crate::kernels::contract::{Access, Feature};
use crate::kernels::{self, Contract, KernelError, Target, Variant, catalogue};

/// A kernel that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ran {
    /// Its name in the catalogue.
    pub kernel: &'static str,
    /// A variant that needs 16-bit floats.
    pub half: bool,
    /// A variant that reads an operand from an image.
    pub image: bool,
}

/// A compiled kernel.
pub struct Kernel {
    name: &'static str,
    half: bool,
    image: bool,
    device: wgpu::Device,
    wgsl: String,
    checked: bool,
    pipeline: OnceLock<std::result::Result<wgpu::ComputePipeline, String>>,
    layout: wgpu::BindGroupLayout,
    /// Numbers of its bindings, the uniform first; a variant may leave some out.
    bindings: Vec<u32>,
    counter: Option<Counter>,
}

type Key = (String, String);

pub(super) struct KernelCache {
    checked: bool,
    compiled: Mutex<HashMap<Key, Arc<Kernel>>>,
}

impl KernelCache {
    pub(super) fn new(checked: bool) -> KernelCache {
        KernelCache {
            checked,
            compiled: Mutex::default(),
        }
    }

    pub(super) fn checked(&self) -> bool {
        self.checked
    }

    pub(super) fn get(
        &self,
        driver: &Driver,
        name: &str,
        variant: &Variant,
    ) -> Result<Arc<Kernel>> {
        let key = (name.to_string(), variant.key());
        if let Some(kernel) = lock(&self.compiled).get(&key) {
            return Ok(kernel.clone());
        }
        let kernel = Arc::new(Kernel::new(driver, name, variant, self.checked)?);
        let kernel = lock(&self.compiled).entry(key).or_insert(kernel).clone();
        let compiled = kernel.clone();
        rayon::spawn(move || {
            compiled.compile();
        });
        Ok(kernel)
    }

    /// Waits until nothing is being compiled. It only waits: a thread that ends may call it, when
    /// wgpu finds its thread-locals gone.
    pub(super) fn settle(&self) {
        let kernels: Vec<Arc<Kernel>> = lock(&self.compiled).values().cloned().collect();
        for kernel in kernels {
            kernel.pipeline.wait();
        }
    }
}

impl Drop for KernelCache {
    /// Leaves no thread in the driver, which a process that ends would take away under it.
    fn drop(&mut self) {
        for kernel in lock(&self.compiled).values() {
            (kernel.pipeline).get_or_init(|| Err("its device was closed".into()));
        }
    }
}

/// What a variant needs of the adapter and does not find there.
fn lacking(contract: &Contract, variant: &Variant, caps: &Caps) -> kernels::Result<Option<String>> {
    let features = contract.features(variant)?;
    for (feature, there, what) in [
        (Feature::Subgroup, caps.subgroup, "subgroup operations"),
        (Feature::F16, caps.f16, "16-bit floats"),
        (
            Feature::CooperativeMatrix,
            caps.matrix.is_some(),
            "cooperative matrices of f16 and subgroups of one size",
        ),
    ] {
        if features.contains(&feature) && !there {
            return Ok(Some(what.to_string()));
        }
    }
    let lanes = contract.lanes(variant)?;
    let wrong = lanes.filter(|lanes| !lanes.fit(caps.subgroup_min, caps.subgroup_max));
    Ok(wrong.map(|lanes| format!("subgroups of {lanes}")))
}

impl Kernel {
    fn new(driver: &Driver, name: &str, variant: &Variant, checked: bool) -> Result<Kernel> {
        let Driver { device, caps, .. } = driver;
        let fail = |message: String| Error::kernel(name, message);
        let wrong = |error: KernelError| Error::kernel(name, error);
        let source = catalogue::get(name).ok_or_else(|| fail("not in the catalogue".into()))?;
        let contract = source.contract().map_err(wrong)?;
        if let Some(what) = lacking(contract, variant, caps).map_err(wrong)? {
            return Err(fail(format!("needs {what}, which {caps} lacks")));
        }
        let wgsl = source.source(variant, Target::Naga).map_err(wrong)?;
        let bindings = contract.bindings(variant).map_err(wrong)?;
        let buffer = |ty| wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings
            .iter()
            .map(|binding| wgpu::BindGroupLayoutEntry {
                binding: binding.index,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: match binding.kind {
                    Access::Uniform => buffer(wgpu::BufferBindingType::Uniform),
                    Access::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }),
                    Access::ReadWrite => {
                        buffer(wgpu::BufferBindingType::Storage { read_only: false })
                    }
                    Access::Image => wgpu::BindingType::StorageTexture {
                        access: wgpu::StorageTextureAccess::ReadOnly,
                        format: image_format(binding.scalar_bytes() == Some(2)),
                        view_dimension: wgpu::TextureViewDimension::D2Array,
                    },
                },
                count: None,
            })
            .collect();
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(name),
            entries: &entries,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(fail(error.to_string()));
        }
        let features = contract.features(variant).map_err(wrong)?;
        Ok(Kernel {
            name: source.name,
            half: features.contains(&Feature::F16),
            image: bindings.iter().any(|b| b.kind == Access::Image),
            device: device.clone(),
            wgsl,
            checked,
            pipeline: OnceLock::new(),
            layout,
            bindings: entries.iter().map(|e| e.binding).collect(),
            counter: Counter::new(contract, variant).map_err(wrong)?,
        })
    }

    /// What is said of it where it ran.
    pub(super) fn ran(&self) -> Ran {
        Ran {
            kernel: self.name,
            half: self.half,
            image: self.image,
        }
    }

    /// Compiles it, or waits for the thread that does, unless that is done.
    fn compile(&self) -> &std::result::Result<wgpu::ComputePipeline, String> {
        self.pipeline.get_or_init(|| {
            let device = &self.device;
            let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
            let desc = wgpu::ShaderModuleDescriptor {
                label: Some(self.name),
                source: wgpu::ShaderSource::Wgsl((&self.wgsl).into()),
            };
            let module = if self.checked {
                device.create_shader_module(desc)
            } else {
                // SAFETY: the catalogue's kernels stay within their buffers for every shape the
                // operators allow; the tests run them with guard words and with checks on.
                let unchecked = wgpu::ShaderRuntimeChecks::unchecked();
                unsafe { device.create_shader_module_trusted(desc, unchecked) }
            };
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(self.name),
                bind_group_layouts: &[Some(&self.layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(self.name),
                layout: Some(&layout),
                module: &module,
                entry_point: Some(self.name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: self.checked,
                    ..Default::default()
                },
                cache: None,
            });
            match pollster::block_on(scope.pop()) {
                Some(error) => Err(error.to_string()),
                None => Ok(pipeline),
            }
        })
    }

    /// Waits until it is compiled.
    pub(super) fn wait(&self) -> Result<()> {
        let compiled = self.compile().as_ref().map(drop);
        compiled.map_err(|message| Error::kernel(self.name, message))
    }

    /// Its name in the catalogue.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// There once [`Kernel::wait`] has returned.
    pub(super) fn pipeline(&self) -> Option<&wgpu::ComputePipeline> {
        self.pipeline.get()?.as_ref().ok()
    }

    pub(super) fn layout(&self) -> &wgpu::BindGroupLayout {
        &self.layout
    }

    /// Numbers of its bindings, the uniform first.
    pub(super) fn bindings(&self) -> &[u32] {
        &self.bindings
    }

    pub(super) fn counter(&self) -> Option<&Counter> {
        self.counter.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::lacking;
    use crate::device::adapter::tests::caps;
    use crate::kernels::contract::Feature;
    use crate::kernels::{Variant, catalogue};

    #[test]
    fn kernels_by_broadcast_run_in_large_subgroups_only() {
        let default = Variant::new();
        for kernel in catalogue::iter() {
            let contract = kernel.contract().unwrap();
            if contract.features != [Feature::Subgroup] {
                continue;
            }
            let lacks = |lanes| lacking(contract, &default, &caps(lanes)).unwrap();
            assert_eq!(lacks(0).as_deref(), Some("subgroup operations"));
            assert_eq!(lacks(4).as_deref(), Some("subgroups of 8 lanes or more"));
            for lanes in [8, 64] {
                assert_eq!(lacks(lanes), None);
                assert!(caps(lanes).broadcasts());
            }
            assert!(!caps(4).broadcasts() && !caps(0).broadcasts());
        }
        let coop = catalogue::contract("matmul_coop").unwrap();
        let variant = default.with("SUBGROUP", 8u32).with("THREADS", 32u32);
        let lanes = coop.lanes(&variant).unwrap().unwrap();
        assert_eq!(lanes.to_string(), "8 lanes");
        let fits = [(8, 8), (4, 8), (8, 16), (32, 32)].map(|(min, max)| lanes.fit(min, max));
        assert_eq!(fits, [true, false, false, false]);
    }
}
