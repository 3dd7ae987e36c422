//! Commands: what a step is made of once shapes are checked and memory is assigned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::binding::{Bound, Resource};
use super::driver::Driver;
use super::image::Lines;
use super::kernel::{Kernel, Ran};
use super::memory::{Buffer, Image};
use super::uniforms::UniformSlot;
use super::work::Counts;
use crate::error::{Error, Result};
use crate::kernels::grid;

/// How many workgroups run.
#[derive(Debug, Clone, Copy)]
pub enum Groups {
    /// This many in a row; folded to two dimensions beyond 65,535. The kernel reads
    /// its index as `wid.x + wid.y * num_workgroups.x` and ignores those past the end.
    Linear(u64),
    /// Exactly this grid.
    Grid([u32; 3]),
}

impl Groups {
    /// Enough groups of `per_group` for `items`.
    pub fn cover(items: usize, per_group: usize) -> Groups {
        Groups::Linear(items.div_ceil(per_group) as u64)
    }

    pub(super) fn resolve(self, kernel: &str, limits: &wgpu::Limits) -> Result<[u32; 3]> {
        let max = u64::from(limits.max_compute_workgroups_per_dimension);
        let grid = match self {
            Groups::Linear(n) => grid::fold(n).unwrap_or([0; 3]),
            Groups::Grid(grid) => grid,
        };
        if grid.iter().any(|&g| g == 0 || u64::from(g) > max) {
            return Err(Error::Kernel {
                kernel: kernel.to_string(),
                message: format!("grid {grid:?} is empty or beyond {max} groups an axis"),
            });
        }
        Ok(grid)
    }
}

/// Memory that a command keeps out of its pool: only what was not made for a recording, whose own
/// memory goes back while it is recorded, for its later commands to use. The driver's handles
/// keep that alive.
type Kept = Arc<dyn Send + Sync>;

fn kept_buffer(buffer: &Arc<Buffer>) -> Option<Kept> {
    (buffer.outlives_recordings()).then(|| buffer.clone() as Kept)
}

fn kept_image(image: &Arc<Image>) -> Option<Kept> {
    (image.outlives_recordings()).then(|| image.clone() as Kept)
}

fn kept(binding: &Bound<'_>) -> Option<Kept> {
    match binding.resource {
        Resource::Buffer(buffer, _) => kept_buffer(buffer),
        Resource::Image(image) => kept_image(image),
    }
}

/// A buffer that a command reads or writes.
pub(super) struct Held {
    raw: wgpu::Buffer,
    _kept: Option<Kept>,
}

impl Held {
    fn new(buffer: &Arc<Buffer>) -> Held {
        Held {
            raw: buffer.raw().clone(),
            _kept: kept_buffer(buffer),
        }
    }
}

pub(super) enum Command {
    Dispatch {
        kernel: Arc<Kernel>,
        bind_group: wgpu::BindGroup,
        groups: [u32; 3],
        counts: Counts,
        _kept: Vec<Kept>,
    },
    Copy {
        from: (Held, u64),
        to: (Held, u64),
        bytes: u64,
    },
    Clear {
        buffer: Held,
        offset: u64,
        bytes: u64,
    },
    Image {
        from: (Held, u64),
        to: wgpu::Texture,
        lines: Lines,
        _kept: Option<Kept>,
    },
}

impl Command {
    /// The kernel's name, or `copy`, `clear` or `image`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Command::Dispatch { kernel, .. } => kernel.name(),
            Command::Copy { .. } => "copy",
            Command::Clear { .. } => "clear",
            Command::Image { .. } => "image",
        }
    }

    pub(super) fn is_dispatch(&self) -> bool {
        matches!(self, Command::Dispatch { .. })
    }

    /// Its work.
    pub(super) fn counts(&self) -> Counts {
        let bytes = match self {
            Command::Dispatch { counts, .. } => return *counts,
            Command::Copy { bytes, .. } => 2 * bytes,
            Command::Clear { bytes, .. } => *bytes,
            Command::Image { lines, .. } => 2 * lines.bytes(),
        };
        Counts {
            flops: None,
            bytes: Some(bytes as f64),
        }
    }

    /// A dispatch of a kernel: its bindings checked and put together.
    pub(super) fn dispatch(
        driver: &Driver,
        kernel: &Arc<Kernel>,
        (uniform, params): (&UniformSlot, &[u8]),
        bindings: &[Bound<'_>],
        groups: [u32; 3],
    ) -> Result<Command> {
        let wanted = kernel.bindings().len() - 1;
        if bindings.len() != wanted {
            return Err(Error::Kernel {
                kernel: kernel.name().to_string(),
                message: format!("takes {wanted} bindings, was given {}", bindings.len()),
            });
        }
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &uniform.slab,
                offset: uniform.offset,
                size: wgpu::BufferSize::new(uniform.size),
            }),
        }];
        for (&index, binding) in kernel.bindings()[1..].iter().zip(bindings) {
            let limit = driver.caps.limits.max_storage_buffer_binding_size;
            if matches!(binding.resource, Resource::Buffer(..)) && binding.size > limit {
                return Err(Error::TooLarge {
                    what: format!("binding {index} of kernel '{}'", kernel.name()),
                    bytes: binding.size,
                    limit,
                    limit_name: "one storage binding",
                });
            }
            entries.push(wgpu::BindGroupEntry {
                binding: index,
                resource: binding.raw(),
            });
        }
        let bind_group = driver.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name()),
            layout: kernel.layout(),
            entries: &entries,
        });
        let memory = bindings.iter().filter_map(kept).collect();
        let counted = kernel.counter().map(|c| c.count(params, bindings, groups));
        let counts = counted.unwrap_or_default();
        Ok(Command::Dispatch {
            kernel: kernel.clone(),
            bind_group,
            groups,
            counts,
            _kept: memory,
        })
    }

    pub(super) fn copy(from: (&Arc<Buffer>, u64), to: (&Arc<Buffer>, u64), bytes: u64) -> Command {
        Command::Copy {
            from: (Held::new(from.0), from.1),
            to: (Held::new(to.0), to.1),
            bytes,
        }
    }

    pub(super) fn image(from: (&Arc<Buffer>, u64), to: &Arc<Image>) -> Command {
        Command::Image {
            from: (Held::new(from.0), from.1),
            to: to.raw().clone(),
            lines: to.lines(),
            _kept: kept_image(to),
        }
    }

    pub(super) fn clear(buffer: &Arc<Buffer>, offset: u64, bytes: u64) -> Command {
        Command::Clear {
            buffer: Held::new(buffer),
            offset,
            bytes,
        }
    }
}

/// A step's commands, ready to be sent again.
pub struct Recording {
    commands: Vec<Command>,
}

impl Recording {
    pub(super) fn new(commands: Vec<Command>) -> Recording {
        Recording { commands }
    }

    pub(super) fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Number of dispatches, copies, clears and images in one replay.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether a replay does nothing.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// What one replay computes and moves, as far as kernels' contracts say.
    pub fn work(&self) -> Counts {
        let all = || self.commands.iter().map(Command::counts);
        Counts {
            flops: Some(all().filter_map(|c| c.flops).sum()),
            bytes: Some(all().filter_map(|c| c.bytes).sum()),
        }
    }

    /// The kernels of one replay, each once.
    pub fn kernels(&self) -> BTreeSet<Ran> {
        let ran = self.commands.iter().filter_map(|command| match command {
            Command::Dispatch { kernel, .. } => Some(kernel.ran()),
            _ => None,
        });
        ran.collect()
    }

    /// How often each kernel runs in one replay, by name.
    pub fn kernel_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for command in &self.commands {
            if let Command::Dispatch { kernel, .. } = command {
                *counts.entry(kernel.name().to_string()).or_insert(0) += 1;
            }
        }
        counts
    }
}

/// Waits until all kernels of these commands are compiled.
pub(super) fn compiled(commands: &[Command]) -> Result<()> {
    let mut kernels = commands.iter().filter_map(|command| match command {
        Command::Dispatch { kernel, .. } => Some(kernel),
        _ => None,
    });
    kernels.try_for_each(|kernel| kernel.wait())
}

/// Encodes commands whose kernels are compiled, consecutive dispatches in one pass.
pub(super) fn encode(encoder: &mut wgpu::CommandEncoder, commands: &[Command]) {
    for run in commands.chunk_by(|a, b| a.is_dispatch() && b.is_dispatch()) {
        match &run[0] {
            Command::Dispatch { .. } => encode_pass(encoder, run, None),
            Command::Copy { from, to, bytes } => {
                encoder.copy_buffer_to_buffer(&from.0.raw, from.1, &to.0.raw, to.1, *bytes);
            }
            Command::Clear {
                buffer,
                offset,
                bytes,
            } => {
                encoder.clear_buffer(&buffer.raw, *offset, Some(*bytes));
            }
            Command::Image {
                from, to, lines, ..
            } => lines.encode(encoder, (&from.0.raw, from.1), to),
        }
    }
}

/// Encodes dispatches in one pass, with timestamps at its ends if need be.
pub(super) fn encode_pass(
    encoder: &mut wgpu::CommandEncoder,
    run: &[Command],
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
) {
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: None,
        timestamp_writes,
    });
    let mut current: Option<&Arc<Kernel>> = None;
    for command in run {
        if let Command::Dispatch {
            kernel,
            bind_group,
            groups,
            ..
        } = command
        {
            if !current.is_some_and(|k| Arc::ptr_eq(k, kernel)) {
                let Some(pipeline) = kernel.pipeline() else {
                    continue;
                };
                pass.set_pipeline(pipeline);
                current = Some(kernel);
            }
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
        }
    }
}
