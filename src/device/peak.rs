//! What a device can do at most, as measured: a kernel that only multiplies and adds in registers,
//! and a copy between two buffers. The kernel stands outside of the catalogue: nobody trains with it.

use std::time::Instant;

use super::gpu::Gpu;
use crate::error::Result;

const CHAINS: u64 = 3;
const UNROLLED: u64 = 16;
const ROUNDS: u64 = 1024;
const LANES: u64 = 64;
/// Enough to fill a large GPU; a smaller one shows its ceiling with fewer, and sooner.
const MOST_GROUPS: u32 = 8192;
/// Seconds of a run that no wait for the device blurs.
const LONG: f64 = 0.02;
/// Bytes copied.
const COPIED: u64 = 64 << 20;
/// The best of so many runs counts.
const RUNS: usize = 8;

/// A device's ceilings; see [`Gpu::peak`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Floating-point operations a second: f32 fused multiply-adds, two each.
    pub flops: f64,
    /// Bytes a second that a copy between two buffers reads and writes.
    pub bytes: f64,
}

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

impl Gpu {
    /// Measures the device's ceilings; takes a fraction of a second, and nothing else should run.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device), [`Error::TooLarge`](crate::Error::TooLarge) where
    /// two buffers of 64 MiB are.
    pub fn peak(&self) -> Result<Peak> {
        Ok(Peak {
            flops: self.peak_flops()?,
            bytes: self.peak_bytes()?,
        })
    }

    fn peak_flops(&self) -> Result<f64> {
        let device = &self.driver().device;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("peak"),
            source: wgpu::ShaderSource::Wgsl(wgsl().into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("peak"),
            layout: None,
            module: &module,
            entry_point: Some("peak"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let size = u64::from(MOST_GROUPS) * LANES * 16;
        let buffer = (self.driver()).buffer("peak", size, wgpu::BufferUsages::STORAGE);
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("peak"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: buffer.as_entire_binding(),
            }],
        });
        let mut groups = 64;
        let seconds = loop {
            let seconds = self.fastest_run(|encoder| {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &bind_group, &[]);
                pass.dispatch_workgroups(groups, 1, 1);
            })?;
            if self.caps().is_cpu || seconds > LONG || groups == MOST_GROUPS {
                break seconds;
            }
            groups *= 2;
        };
        let flops = 2 * 4 * CHAINS * UNROLLED * ROUNDS * LANES * u64::from(groups);
        Ok(flops as f64 / seconds)
    }

    fn peak_bytes(&self) -> Result<f64> {
        // A context of its own: its memory goes when this is done.
        let gpu = self.fork();
        let (from, to) = (gpu.alloc(COPIED, "copy")?, gpu.alloc(COPIED, "copy")?);
        let seconds = self.fastest_run(|encoder| {
            encoder.copy_buffer_to_buffer(from.raw(), 0, to.raw(), 0, COPIED);
        })?;
        Ok(2.0 * COPIED as f64 / seconds)
    }

    /// Seconds of the fastest of a few runs; the first, which may compile, is one of them.
    fn fastest_run(&self, encode: impl Fn(&mut wgpu::CommandEncoder)) -> Result<f64> {
        self.wait()?;
        let mut best = f64::INFINITY;
        for _ in 0..RUNS {
            let began = Instant::now();
            let mut encoder = self.driver().encoder();
            encode(&mut encoder);
            self.driver().submit(encoder.finish())?;
            self.wait()?;
            best = best.min(began.elapsed().as_secs_f64());
        }
        Ok(best)
    }
}
