//! The device layer: which adapter, its kernels, its memory, and the list of commands.
//!
//! A [`Gpu`] collects commands. [`Gpu::flush`] sends them; [`Gpu::record`] keeps them as a
//! [`Recording`] that [`Gpu::replay`] sends again and again: a training step is checked,
//! given its bind groups and its memory once, and replayed from then on.

mod adapter;
mod buffer;
mod command;
mod image;
mod kernel;
mod pace;
mod peak;
mod profile;
mod readback;
mod tuning;
mod tuning_table;
mod work;

pub use adapter::{AdapterChoice, AdapterReport, Caps, MatrixUnits, list_adapters};
pub use buffer::{Buffer, MemoryStats};
pub(crate) use command::Resource;
pub use command::{Binding, Groups, Recording};
pub(crate) use image::LINE_BYTES;
pub use image::{Image, ImageLimits, Lines};
pub use kernel::Kernel;
pub use peak::Peak;
pub use profile::{CommandTime, KernelTime, Profile, Sent, Timing};
pub use readback::Readback;
pub use tuning::Rung;
pub use tuning_table::{FormTime, Measured};
pub use work::Counts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::kernels::Variant;
use buffer::{NoMemory, Pool, Scope};
use command::{Command, Uniforms};
use kernel::KernelCache;
use pace::Pace;
use profile::Profiler;
use tuning::Tuning;

/// Locks even after a panic elsewhere: every guarded structure is valid between calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all contexts on one device share.
struct Shared {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    kernels: KernelCache,
    tuning: Tuning,
    rung: Option<Rung>,
    uniforms: Mutex<Uniforms>,
    pace: Arc<Mutex<Pace>>,
    /// Which kernels of experimental features have been seen to give right results.
    proven: Mutex<HashMap<&'static str, bool>>,
    /// First error the driver reported outside of any call that could return it.
    failure: Arc<Mutex<Option<String>>>,
}

/// The commands and the memory of one context.
#[derive(Default)]
struct Stream {
    commands: Vec<Command>,
    recording: bool,
    sent: Sent,
    /// The most work of a submission or a product, if not as measured.
    most_work: Option<f64>,
}

/// A device opened for compute: cheap to clone, every clone the same context.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
    stream: Arc<Mutex<Stream>>,
    pool: Arc<Pool>,
    profiler: Arc<Mutex<Option<Profiler>>>,
}

impl Gpu {
    /// Opens the adapter that `choice` names, with all the limits it has.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::UnknownAdapter`], or [`Error::Device`] when the driver
    /// refuses; [`Error::Argument`] when `MELOS_KERNELS` names no rung it has.
    pub fn open(choice: &AdapterChoice) -> Result<Gpu> {
        let adapter = adapter::choose(choice)?;
        let opened = adapter::open(&adapter)?;
        log::info!("adapter: {}", opened.caps);
        let shared = Shared {
            device: opened.device,
            queue: opened.queue,
            kernels: KernelCache::new(choice.checked),
            tuning: Tuning::new(&opened.caps, !choice.checked),
            rung: Rung::from_env(&opened.caps)?,
            caps: opened.caps,
            uniforms: Mutex::default(),
            pace: Arc::default(),
            proven: Mutex::default(),
            failure: opened.failure,
        };
        Ok(Gpu {
            shared: Arc::new(shared),
            stream: Arc::default(),
            pool: Arc::default(),
            profiler: Arc::default(),
        })
    }

    /// A second context on the same device: own commands and memory, shared kernels.
    pub fn fork(&self) -> Gpu {
        Gpu {
            shared: self.shared.clone(),
            stream: Arc::default(),
            pool: Arc::default(),
            profiler: Arc::default(),
        }
    }

    /// Waits until no kernel is being compiled. Dropping the device's last context does so too; a
    /// process that keeps one to its end, as in a `static`, calls this first, or ends under the
    /// feet of a thread in the driver.
    pub fn settle(&self) {
        self.shared.kernels.settle();
    }

    /// A context on the same device that knows of no optional feature, so that operators choose
    /// the kernels that run anywhere.
    #[doc(hidden)]
    pub fn portable(&self) -> Gpu {
        self.without_features(false)
    }

    /// As [`Gpu::portable`], with the 16-bit floats that the adapter has.
    #[doc(hidden)]
    pub fn portable_f16(&self) -> Gpu {
        self.without_features(self.caps().f16)
    }

    fn without_features(&self, f16: bool) -> Gpu {
        let shared = &self.shared;
        let caps = Caps {
            subgroup: false,
            f16,
            matrix: None,
            ..shared.caps.clone()
        };
        let shared = Shared {
            device: shared.device.clone(),
            queue: shared.queue.clone(),
            kernels: KernelCache::new(self.is_checked()),
            tuning: Tuning::new(&caps, false),
            rung: Some(Rung::Portable),
            caps,
            uniforms: Mutex::default(),
            pace: shared.pace.clone(),
            proven: Mutex::default(),
            failure: shared.failure.clone(),
        };
        Gpu {
            shared: Arc::new(shared),
            stream: Arc::default(),
            pool: Arc::default(),
            profiler: Arc::default(),
        }
    }

    /// Whether kernels are compiled with bounds checks.
    pub(crate) fn is_checked(&self) -> bool {
        self.shared.kernels.checked()
    }

    /// Whether `check` finds the results of `kernel` right; asked once for a device, in a context of
    /// its own. A kernel that fails altogether is not right.
    pub(crate) fn proven(
        &self,
        kernel: &'static str,
        check: impl FnOnce(&Gpu) -> Result<bool>,
    ) -> bool {
        // Not held while checking, which asks for kernels and for nothing else.
        if let Some(&known) = lock(&self.shared.proven).get(kernel) {
            return known;
        }
        let right = check(&self.fork()).unwrap_or_else(|error| {
            log::warn!("{kernel} fails on {}: {error}", self.caps());
            false
        });
        if !right {
            log::warn!("{kernel} is wrong on {} and will not be used", self.caps());
        }
        *lock(&self.shared.proven).entry(kernel).or_insert(right)
    }

    /// What the adapter can do.
    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// Refuses an adapter without 16-bit floats.
    ///
    /// # Errors
    /// [`Error::NoHalf`].
    pub fn require_f16(&self) -> Result<()> {
        match self.caps().f16 {
            true => Ok(()),
            false => Err(Error::NoHalf {
                adapter: self.caps().to_string(),
            }),
        }
    }

    /// Bytes held by this context's tensors and pool.
    pub fn memory(&self) -> MemoryStats {
        self.pool.stats()
    }

    /// The kernel `name` in the given variant, compiled once per device: by another thread, until the
    /// first of its commands is sent or its recording ends.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the catalogue has no such kernel or variant, or the adapter lacks
    /// a feature it needs. What the driver refuses, [`Gpu::flush`] and [`Gpu::record`] return.
    pub fn kernel(&self, name: &str, variant: &Variant) -> Result<Arc<Kernel>> {
        let kernel =
            self.shared
                .kernels
                .get(&self.shared.device, &self.shared.caps, name, variant)?;
        self.check_failure()?;
        Ok(kernel)
    }

    /// Memory for `bytes` bytes, contents unspecified, from the pool.
    pub(crate) fn alloc(&self, bytes: u64, what: &str) -> Result<Arc<Buffer>> {
        let limits = &self.shared.caps.limits;
        if bytes > limits.max_buffer_size {
            return Err(Error::TooLarge {
                what: what.to_string(),
                bytes,
                limit: limits.max_buffer_size,
                limit_name: "one buffer",
            });
        }
        let scope = if lock(&self.stream).recording {
            Scope::Recording
        } else {
            Scope::Eager
        };
        let buffer = self.pool.take(&self.shared.device, bytes.max(4), scope);
        self.check_failure()?;
        buffer.map_err(|none| self.out_of_memory(none))
    }

    fn out_of_memory(&self, none: NoMemory) -> Error {
        Error::OutOfMemory {
            adapter: self.caps().name.clone(),
            bytes: none.bytes,
            held: none.held,
        }
    }

    /// Lets this context allocate no more than so many bytes.
    pub fn limit_memory(&self, bytes: Option<u64>) {
        self.pool.limit(bytes);
    }

    /// Writes host bytes into a buffer, after everything queued so far.
    pub(crate) fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        if !lock(&self.stream).commands.is_empty() {
            // A queue write overtakes commands that are not submitted yet.
            if self.is_recording() {
                return Err(Error::Device {
                    adapter: self.caps().name.clone(),
                    message: "host data cannot be written while a step is being recorded; \
                              write inputs before it"
                        .into(),
                });
            }
            self.flush()?;
        }
        self.shared.queue.write_buffer(buffer.raw(), offset, bytes);
        Ok(())
    }

    /// What this context has sent so far.
    pub fn sent(&self) -> Sent {
        lock(&self.stream).sent
    }

    /// Whether commands are being recorded instead of sent.
    pub fn is_recording(&self) -> bool {
        lock(&self.stream).recording
    }

    /// Queues one dispatch. Bindings follow the contract's order from binding 1; binding 0 is
    /// the uniform `params`.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the number of bindings is not the contract's, a binding exceeds the
    /// adapter's limit, or the grid is empty or too large.
    pub fn dispatch<P: bytemuck::Pod>(
        &self,
        kernel: &Arc<Kernel>,
        params: &P,
        bindings: &[Binding<'_>],
        groups: Groups,
    ) -> Result<()> {
        self.dispatch_bytes(kernel, bytemuck::bytes_of(params), bindings, groups)
    }

    /// As [`Gpu::dispatch`], with the uniform's bytes.
    ///
    /// # Errors
    /// As [`Gpu::dispatch`].
    pub fn dispatch_bytes(
        &self,
        kernel: &Arc<Kernel>,
        params: &[u8],
        bindings: &[Binding<'_>],
        groups: Groups,
    ) -> Result<()> {
        let grid = groups.resolve(kernel.name(), &self.shared.caps.limits)?;
        let uniform =
            lock(&self.shared.uniforms).place(&self.shared.device, &self.shared.queue, params);
        let command = kernel.bind(
            &self.shared.device,
            &self.shared.caps.limits,
            (&uniform, params),
            bindings,
            grid,
        )?;
        lock(&self.stream).commands.push(command);
        Ok(())
    }

    /// Queues a copy of `bytes` bytes between two buffers.
    pub(crate) fn copy(
        &self,
        from: (&Arc<Buffer>, u64),
        to: (&Arc<Buffer>, u64),
        bytes: u64,
    ) -> Result<()> {
        if Arc::ptr_eq(from.0, to.0) {
            return Err(Error::Kernel {
                kernel: "copy".into(),
                message: "source and destination are the same buffer".into(),
            });
        }
        lock(&self.stream)
            .commands
            .push(Command::copy(from, to, bytes));
        Ok(())
    }

    /// Queues a copy of lines of a buffer, from byte `offset` on, into an image of their own.
    ///
    /// # Errors
    /// [`Error::Kernel`] beyond the adapter's images.
    pub(crate) fn image(&self, from: (&Arc<Buffer>, u64), lines: &Lines) -> Result<Arc<Image>> {
        let scope = match self.is_recording() {
            true => Scope::Recording,
            false => Scope::Eager,
        };
        let most = self.caps().images();
        if !lines.fit(most) {
            return Err(Error::Kernel {
                kernel: "image".into(),
                message: format!("{lines:?} is beyond this adapter's {most:?}"),
            });
        }
        let image = self.pool.image(&self.shared.device, *lines, scope);
        self.check_failure()?;
        let image = image.map_err(|none| self.out_of_memory(none))?;
        lock(&self.stream)
            .commands
            .push(Command::image(from, &image));
        Ok(image)
    }

    /// Queues zeroing of `bytes` bytes.
    pub(crate) fn clear(&self, buffer: &Arc<Buffer>, offset: u64, bytes: u64) {
        lock(&self.stream)
            .commands
            .push(Command::clear(buffer, offset, bytes));
    }

    /// Sends everything queued to the device. Does not wait.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver reported a failure since the last call, [`Error::Kernel`]
    /// where it refused a kernel.
    pub fn flush(&self) -> Result<()> {
        let commands = {
            let mut stream = lock(&self.stream);
            if stream.recording || stream.commands.is_empty() {
                return self.check_failure();
            }
            std::mem::take(&mut stream.commands)
        };
        command::compiled(&commands)?;
        self.submit(&commands)
    }

    /// Runs `build` and keeps the commands it queues, instead of sending them.
    ///
    /// Memory that `build` allocates and drops is shared with other recordings of this context,
    /// since they run one after another; what `build` returns stays its own.
    ///
    /// # Errors
    /// Those of `build`, and [`Error::Kernel`] where the driver refuses a kernel; the commands are
    /// then discarded.
    pub fn record<T>(&self, build: impl FnOnce() -> Result<T>) -> Result<(Recording, T)> {
        self.flush()?;
        lock(&self.stream).recording = true;
        let built = build();
        let commands = {
            let mut stream = lock(&self.stream);
            stream.recording = false;
            std::mem::take(&mut stream.commands)
        };
        let built = built?;
        command::compiled(&commands)?;
        Ok((Recording::new(commands), built))
    }

    /// Sends a recording once more. Does not wait.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver reported a failure.
    pub fn replay(&self, recording: &Recording) -> Result<()> {
        self.flush()?;
        self.submit(recording.commands())
    }

    /// Waits until the device has finished all that was sent.
    ///
    /// # Errors
    /// [`Error::Device`] when it is lost or failed.
    pub fn wait(&self) -> Result<()> {
        self.flush()?;
        self.wait_idle()
    }

    /// Waits for what was sent, and sends nothing.
    fn wait_idle(&self) -> Result<()> {
        self.shared
            .device
            .poll(wgpu::PollType::Wait {
                submission_index: None,
                timeout: None,
            })
            .map_err(|e| self.device_error(e.to_string()))?;
        self.check_failure()
    }

    /// Starts reading `bytes` bytes back; the result arrives later.
    pub(crate) fn read(&self, from: (&Arc<Buffer>, u64), bytes: u64) -> Result<Readback> {
        self.flush()?;
        let readback = Readback::start(self, from, bytes);
        self.check_failure()?;
        Ok(readback)
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let plain = wgpu::CommandEncoderDescriptor::default();
        self.shared.device.create_command_encoder(&plain)
    }

    fn device_error(&self, message: String) -> Error {
        Error::Device {
            adapter: self.shared.caps.name.clone(),
            message,
        }
    }

    fn check_failure(&self) -> Result<()> {
        match lock(&self.shared.failure).clone() {
            Some(message) => Err(self.device_error(message)),
            None => Ok(()),
        }
    }
}
