//! Where the time goes: how long each command takes on the device, and what sending them costs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::channel;
use std::time::Instant;

use super::command::{self, Command};
use super::driver::Driver;
use super::work::Counts;
use crate::error::Result;

/// The most queries wgpu allows in a set; a command takes two.
const QUERIES: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// How the times of a [`Profile`] were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// By the device's own clock, before and after each command, each dispatch in a pass of its own.
    Timestamps,
    /// By the host's clock, each command sent alone and waited for: short ones show the wait.
    OneByOne,
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timing::Timestamps => "timestamps",
            Timing::OneByOne => "one by one",
        })
    }
}

/// One command that ran.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandTime {
    /// The kernel's name in the catalogue, or `copy`, `clear`.
    pub name: &'static str,
    /// Its work.
    pub counts: Counts,
    /// Seconds from the beginning of the first command to its own.
    pub start: f64,
    /// Seconds it took.
    pub seconds: f64,
}

/// Time spent in one kernel; see [`Profile::kernels`].
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    /// Name in the catalogue, or `copy`, `clear`.
    pub name: &'static str,
    /// How often it ran.
    pub count: usize,
    /// Seconds in all.
    pub seconds: f64,
    /// Work in all, where it is known of every run.
    pub counts: Counts,
}

/// What ran on the device; see [`Gpu::profile`](super::Gpu::profile).
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How it was timed.
    pub timing: Timing,
    /// Every command, in the order of sending.
    pub commands: Vec<CommandTime>,
}

impl Profile {
    /// Time by kernel, the slowest first.
    pub fn kernels(&self) -> Vec<KernelTime> {
        let mut times = BTreeMap::<&str, KernelTime>::new();
        for command in &self.commands {
            let none = Counts {
                flops: Some(0.0),
                bytes: Some(0.0),
            };
            let time = times.entry(command.name).or_insert(KernelTime {
                name: command.name,
                count: 0,
                seconds: 0.0,
                counts: none,
            });
            time.count += 1;
            time.seconds += command.seconds;
            time.counts = time.counts.plus(command.counts);
        }
        let mut times: Vec<KernelTime> = times.into_values().collect();
        times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        times
    }
}

/// A profile being taken.
pub(super) struct Profiler {
    timing: Timing,
    began: Instant,
    done: Vec<CommandTime>,
    /// Sent with timestamps that have not been read yet.
    pending: Vec<Stamped>,
}

/// Commands, and the buffer where the device leaves their ticks, two of each.
struct Stamped {
    commands: Vec<(&'static str, Counts)>,
    ticks: wgpu::Buffer,
}

impl Profiler {
    pub fn new(timing: Timing) -> Profiler {
        Profiler {
            timing,
            began: Instant::now(),
            done: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Sends commands so that their times can be told.
    pub fn submit(&mut self, driver: &Driver, commands: &[Command]) -> Result<()> {
        match self.timing {
            Timing::Timestamps => {
                let mut encoder = driver.encoder();
                for chunk in commands.chunks(QUERIES / 2) {
                    let stamped = encode_stamped(driver, &mut encoder, chunk);
                    self.pending.push(stamped);
                }
                driver.submit(encoder.finish())?;
            }
            Timing::OneByOne => {
                for command in commands {
                    let mut encoder = driver.encoder();
                    command::encode(&mut encoder, std::slice::from_ref(command));
                    let start = self.began.elapsed().as_secs_f64();
                    driver.submit(encoder.finish())?;
                    driver.wait(None)?;
                    self.done.push(CommandTime {
                        name: command.name(),
                        counts: command.counts(),
                        start,
                        seconds: self.began.elapsed().as_secs_f64() - start,
                    });
                }
            }
        }
        Ok(())
    }

    /// What was sent, all of which has run.
    pub fn finish(self, driver: &Driver) -> Result<Profile> {
        let mut commands = self.done;
        commands.extend(read_stamps(driver, self.pending)?);
        let timing = self.timing;
        Ok(Profile { timing, commands })
    }
}

fn encode_stamped(
    driver: &Driver,
    encoder: &mut wgpu::CommandEncoder,
    commands: &[Command],
) -> Stamped {
    let count = 2 * commands.len() as u32;
    let set = driver.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("profile"),
        ty: wgpu::QueryType::Timestamp,
        count,
    });
    for (command, first) in commands.iter().zip((0..).step_by(2)) {
        let stamps = wgpu::ComputePassTimestampWrites {
            query_set: &set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        };
        if command.is_dispatch() {
            command::encode_pass(encoder, std::slice::from_ref(command), Some(stamps));
        } else {
            encoder.write_timestamp(&set, first);
            command::encode(encoder, std::slice::from_ref(command));
            encoder.write_timestamp(&set, first + 1);
        }
    }
    let size = u64::from(count) * u64::from(wgpu::QUERY_SIZE);
    let buffer = |usage| driver.buffer("profile", size, usage);
    let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
    let ticks = buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ);
    encoder.resolve_query_set(&set, 0..count, &resolved, 0);
    encoder.copy_buffer_to_buffer(&resolved, 0, &ticks, 0, resolved.size());
    Stamped {
        commands: commands.iter().map(|c| (c.name(), c.counts())).collect(),
        ticks,
    }
}

/// Reads the ticks of commands that have all run.
fn read_stamps(driver: &Driver, pending: Vec<Stamped>) -> Result<Vec<CommandTime>> {
    let second = f64::from(driver.queue.get_timestamp_period()) * 1e-9;
    let mut first = None;
    let mut times = Vec::new();
    for Stamped { commands, ticks } in pending {
        let (sender, mapped) = channel();
        ticks.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver waits below.
            let _ = sender.send(result);
        });
        driver.wait(None)?;
        let lost = |e: String| driver.error(format!("cannot read timestamps: {e}"));
        let result = mapped.recv().map_err(|e| lost(e.to_string()))?;
        result.map_err(|e| lost(e.to_string()))?;
        let view = ticks.get_mapped_range(..);
        let view = view.map_err(|e| lost(e.to_string()))?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        for ((name, counts), stamp) in commands.into_iter().zip(stamps.chunks_exact(2)) {
            let zero = *first.get_or_insert(stamp[0]);
            times.push(CommandTime {
                name,
                counts,
                start: stamp[0].saturating_sub(zero) as f64 * second,
                seconds: stamp[1].saturating_sub(stamp[0]) as f64 * second,
            });
        }
    }
    Ok(times)
}
