//! Kernels by subgroup broadcast write NaN, and nothing else, where subgroups have too few lanes. melos
//! never runs them there, so their text goes to wgpu as another engine would hand it over.
#![cfg(feature = "gpu")]

use melos::kernels::contract::{Access, Binding, Feature};
use melos::kernels::{Contract, Target, Variant, catalogue};
use pollster::block_on;

/// Floats of every buffer, more than any kernel here reads.
const FLOATS: usize = 1 << 17;
/// What outputs hold before.
const BEFORE: f32 = 12345.5;
const SIDE: u32 = 256;
const LAYERS: u32 = 8;

struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    lanes: [u32; 2],
}

/// The adapter that melos takes; `None` where its subgroups cannot be used.
fn open() -> Option<Device> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    let adapter = adapter.expect("a GPU adapter; run through tools/with-vulkan");
    let info = adapter.get_info();
    let subgroups = adapter.features().contains(wgpu::Features::SUBGROUP);
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: wgpu::Features::SUBGROUP & adapter.features(),
        required_limits: adapter.limits(),
        ..Default::default()
    }))
    .expect("a device");
    subgroups.then_some(Device {
        device,
        queue,
        lanes: [info.subgroup_min_size, info.subgroup_max_size],
    })
}

/// Sizes that fill whole workgroups, by the names of parameters; all others are 0.
fn parameter(name: &str) -> u32 {
    match name {
        "queries" | "keys" | "rows" => 40,
        "heads" => 2,
        "width" => 8,
        "q_row" | "k_row" | "v_row" => 16,
        "blocks" | "steps" | "next" | "has_next" => 1,
        "scale" | "keep" | "alpha" => 1f32.to_bits(),
        "batch" => 3,
        "hidden" | "k" | "kp" => 64,
        "m" => 9,
        "n" | "ldc" => 256,
        _ => 0,
    }
}

/// Workgroups for these sizes.
fn groups(contract: &Contract, variant: &Variant) -> [u32; 3] {
    let full = contract.complete(variant).unwrap();
    let constant = |name: &str| match full.get(name) {
        Some(melos::kernels::Value::U32(n)) => n,
        other => panic!("{name}: {other:?}"),
    };
    let value = parameter;
    match contract.name.as_str() {
        "lstm_step_fwd_subgroup" => [
            value("hidden").div_ceil(constant("TILE")),
            value("batch").div_ceil(constant("ROWS")),
            1,
        ],
        "lstm_step_bwd_subgroup" => [
            value("hidden").div_ceil(4 * constant("TILE")),
            value("batch").div_ceil(constant("ROWS")),
            1,
        ],
        "matmul_subgroup" => [
            value("m").div_ceil(constant("ROWS")),
            value("n").div_ceil(4 * constant("WG")),
            1,
        ],
        "matmul_vec_subgroup" => [value("n") / 32, value("m").div_ceil(constant("M")), 1],
        "matmul_image" => [value("m").div_ceil(constant("ROWS")), value("n") / 64, 1],
        name if name.starts_with("attention") => {
            [value("rows").div_ceil(32), value("heads"), value("batch")]
        }
        name => panic!("{name}: give its workgroups here"),
    }
}

impl Device {
    fn buffer(&self, words: &[u32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * words.len() as u64,
            usage: usage | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bytes = bytemuck::cast_slice(words);
        self.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    /// An image of ones.
    fn image(&self) -> wgpu::TextureView {
        let size = wgpu::Extent3d {
            width: SIDE,
            height: SIDE,
            depth_or_array_layers: LAYERS,
        };
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let ones = vec![1f32; (4 * SIDE * SIDE * LAYERS) as usize];
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(16 * SIDE),
            rows_per_image: Some(SIDE),
        };
        let bytes = bytemuck::cast_slice(&ones);
        (self.queue).write_texture(texture.as_image_copy(), bytes, layout, size);
        texture.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(wgpu::TextureViewDimension::D2Array),
            ..Default::default()
        })
    }

    fn layout(&self, bindings: &[Binding]) -> wgpu::BindGroupLayout {
        let buffer = |ty| wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let storage = |read_only| buffer(wgpu::BufferBindingType::Storage { read_only });
        let entry = |b: &Binding| wgpu::BindGroupLayoutEntry {
            binding: b.index,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: match b.kind {
                Access::Uniform => buffer(wgpu::BufferBindingType::Uniform),
                Access::Read => storage(true),
                Access::ReadWrite => storage(false),
                Access::Image => wgpu::BindingType::StorageTexture {
                    access: wgpu::StorageTextureAccess::ReadOnly,
                    format: wgpu::TextureFormat::Rgba32Float,
                    view_dimension: wgpu::TextureViewDimension::D2Array,
                },
            },
            count: None,
        };
        let entries: Vec<_> = bindings.iter().map(entry).collect();
        let layout = wgpu::BindGroupLayoutDescriptor {
            label: None,
            entries: &entries,
        };
        self.device.create_bind_group_layout(&layout)
    }

    fn pipeline(
        &self,
        name: &str,
        wgsl: &str,
        layout: &wgpu::BindGroupLayout,
    ) -> wgpu::ComputePipeline {
        let module = wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(wgsl.into()),
        };
        let layout = wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(layout)],
            immediate_size: 0,
        };
        let pipeline = wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&self.device.create_pipeline_layout(&layout)),
            module: &self.device.create_shader_module(module),
            entry_point: Some(name),
            compilation_options: Default::default(),
            cache: None,
        };
        self.device.create_compute_pipeline(&pipeline)
    }

    /// All outputs of a kernel whose inputs are ones.
    fn run(&self, contract: &Contract, variant: &Variant, wgsl: &str) -> Vec<f32> {
        let bindings = contract.bindings(variant).unwrap();
        let layout = self.layout(&bindings);
        let pipeline = self.pipeline(&contract.name, wgsl, &layout);
        let mut params: Vec<u32> = (contract.params.iter())
            .map(|p| parameter(&p.name))
            .collect();
        params.resize(contract.params_size() as usize / 4, 0);
        let (mut buffers, mut images) = (Vec::new(), Vec::new());
        for b in &bindings {
            let storage = wgpu::BufferUsages::STORAGE;
            let same = |word| vec![word; FLOATS];
            match b.kind {
                Access::Uniform => buffers.push(self.buffer(&params, wgpu::BufferUsages::UNIFORM)),
                // Lengths of sequences.
                Access::Read if b.dtype == "u32" => buffers.push(self.buffer(&same(40), storage)),
                Access::Read => buffers.push(self.buffer(&same(1f32.to_bits()), storage)),
                Access::ReadWrite => {
                    let copied = storage | wgpu::BufferUsages::COPY_SRC;
                    buffers.push(self.buffer(&same(BEFORE.to_bits()), copied));
                }
                Access::Image => images.push(self.image()),
            }
        }
        let (mut next_buffer, mut next_image) = (buffers.iter(), images.iter());
        let entries: Vec<wgpu::BindGroupEntry> = (bindings.iter())
            .map(|b| wgpu::BindGroupEntry {
                binding: b.index,
                resource: match b.kind {
                    Access::Image => wgpu::BindingResource::TextureView(next_image.next().unwrap()),
                    _ => next_buffer.next().unwrap().as_entire_binding(),
                },
            })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        let [x, y, z] = groups(contract, variant);
        pass.dispatch_workgroups(x, y, z);
        drop(pass);
        let bytes = 4 * FLOATS as u64;
        let outputs = bindings.iter().filter(|b| b.kind != Access::Image);
        let outputs = outputs
            .zip(&buffers)
            .filter(|(b, _)| b.kind == Access::ReadWrite);
        let back: Vec<wgpu::Buffer> = outputs
            .map(|(_, output)| {
                let back = wgpu::BufferUsages::MAP_READ;
                let back = self.buffer(&vec![0; FLOATS], back);
                encoder.copy_buffer_to_buffer(output, 0, &back, 0, bytes);
                back
            })
            .collect();
        self.queue.submit([encoder.finish()]);
        for buffer in &back {
            buffer.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        }
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .unwrap();
        let read = |buffer: &wgpu::Buffer| {
            let bytes = buffer.get_mapped_range(..).unwrap();
            bytemuck::cast_slice(&bytes).to_vec()
        };
        back.iter().flat_map(read).collect()
    }
}

#[test]
fn kernels_by_broadcast_write_nan_in_small_subgroups() {
    let Some(gpu) = open() else {
        eprintln!("SKIPPED: no subgroups");
        return;
    };
    let mut tried = 0;
    for kernel in catalogue::iter() {
        let contract = kernel.contract().unwrap();
        for mut variant in contract.variants() {
            let dropout = variant.get("DROPOUT").is_some();
            if dropout || contract.features(&variant).unwrap() != [Feature::Subgroup] {
                continue;
            }
            // Dropout and more columns store alike, and take a CPU driver seconds to compile.
            if contract.consts.iter().any(|c| c.name == "COLS") {
                variant = variant.with("COLS", 8u32);
            }
            let wgsl = kernel.source(&variant, Target::Naga).unwrap();
            let least = contract.lanes(&variant).unwrap().unwrap().least;
            // In a kernel that needs other subgroups than this adapter's.
            let needs = |lanes: u32| {
                let stated = format!("const SUBGROUP: u32 = {least}u;");
                assert_eq!(wgsl.matches(&stated).count(), 1, "{}", kernel.name);
                let text = wgsl.replace(&stated, &format!("const SUBGROUP: u32 = {lanes}u;"));
                gpu.run(contract, &variant, &text)
            };
            let what = format!("{} [{}]", kernel.name, variant.key());
            let numbers = needs(1);
            let written = numbers.iter().filter(|x| **x != BEFORE).count();
            assert!(written >= 3 * 64, "{what}: {written} numbers written");
            assert!(!numbers.iter().any(|x| x.is_nan()), "{what}: NaN of ones");
            let [smallest, largest] = gpu.lanes;
            let refused = if smallest < least { least } else { largest + 1 };
            for (i, (is, was)) in needs(refused).iter().zip(&numbers).enumerate() {
                let right = if *was == BEFORE {
                    *is == BEFORE
                } else {
                    is.is_nan()
                };
                assert!(
                    right,
                    "{what}: output {i} is {is}, not NaN (with lanes: {was})"
                );
            }
            tried += 1;
        }
    }
    assert!(tried >= 25, "{tried} variants tried");
}
