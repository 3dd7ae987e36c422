//! What the device can do at most, by a kernel that only multiplies and adds in registers. It
//! stands outside of the catalogue: nobody trains with it.

use std::time::Instant;

const CHAINS: u64 = 3;
const UNROLLED: u64 = 16;
const ROUNDS: u64 = 1024;
const LANES: u64 = 64;

/// Three chains of vec4, twelve independent numbers, hide the latency of an fma and still fit the
/// sixteen vector registers of AVX2.
fn wgsl() -> String {
    let names: Vec<String> = (0..CHAINS).map(|i| format!("v{i}")).collect();
    let start: String = names
        .iter()
        .enumerate()
        .map(|(i, v)| format!("var {v} = x + vec4<f32>({i}.0);"))
        .collect();
    let body: String = names
        .iter()
        .map(|v| format!("{v} = fma({v}, x, y);"))
        .collect();
    let body = body.repeat(UNROLLED as usize);
    format!(
        "@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
         @compute @workgroup_size({LANES})
         fn peak(@builtin(global_invocation_id) id: vec3<u32>) {{
             let x = vec4<f32>(out[id.x].x * 0.5);
             let y = x + vec4<f32>(0.25);
             {start}
             for (var k = 0u; k < {ROUNDS}u; k++) {{ {body} }}
             out[id.x] = {};
         }}",
        names.join(" + ")
    )
}

/// GFLOP/s of f32 fused multiply-add on the adapter of this name.
pub fn gflops(adapter: &str) -> Option<f64> {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(desc);
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let adapter = all.into_iter().find(|a| a.get_info().name == adapter)?;
    let opened = adapter.request_device(&wgpu::DeviceDescriptor::default());
    let (device, queue) = pollster::block_on(opened).ok()?;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(wgsl().into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("peak"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let cpu = adapter.get_info().device_type == wgpu::DeviceType::Cpu;
    let groups: u32 = if cpu { 64 } else { 8192 };
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::from(groups) * LANES * 16,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry {
            binding: 0,
            resource: buffer.as_entire_binding(),
        }],
    });
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let began = Instant::now();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        queue.submit([encoder.finish()]);
        let wait = wgpu::PollType::Wait {
            submission_index: None,
            timeout: None,
        };
        device.poll(wait).ok()?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    let flops = 2 * 4 * CHAINS * UNROLLED * ROUNDS * LANES * u64::from(groups);
    Some(flops as f64 / best / 1e9)
}
